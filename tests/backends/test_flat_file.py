from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from zsretrieve.backends import flat_file
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.vectors import unit_rows


@pytest.fixture
def stored() -> np.ndarray:
    return unit_rows(np.random.default_rng(0).standard_normal((40, 12)))


@pytest.mark.parametrize("rows", [40, 1, 0])
def test_the_file_is_the_one_that_faiss_writes(tmp_path: Path, stored: np.ndarray, rows: int) -> None:
    index = faiss.IndexFlatIP(12)
    index.add(stored[:rows])
    faiss.write_index(index, str(tmp_path / "faiss"))
    flat_file.write(tmp_path / "ours", np.split(stored[:rows], [0, rows // 3]), 12)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "faiss").read_bytes()
    file = FlatFile(tmp_path / "faiss")
    assert (len(file), file.dim) == (rows, 12)
    np.testing.assert_array_equal(file.read(), stored[:rows])
    some = np.arange(rows)[::-2]
    np.testing.assert_array_equal(file.take(some), stored[some])


def test_anything_else_is_refused(tmp_path: Path, stored: np.ndarray) -> None:
    path = tmp_path / "index"
    flat_file.write(path, [stored], 12)
    whole = path.read_bytes()

    def with_number(at: int, form: str, number: int) -> bytes:
        return whole[:at] + struct.pack(form, number) + whole[at + struct.calcsize(form) :]

    for content, said in {
        b"": "0 bytes",
        whole[:44]: "44 bytes",
        whole[:45]: "45 bytes instead of 1965",
        whole[:-1]: "1964 bytes instead",
        whole + b"x": "1966 bytes instead",
        b"PK" + whole[2:]: "not a FAISS index",
        b"IxF2" + whole[4:]: "inner-product",
        with_number(33, "<i", 1): "inner-product",
        with_number(4, "<i", 0): "rows of 0",
        with_number(4, "<i", -12): "rows of -12",
        with_number(8, "<q", -40): "-40 rows",
        with_number(8, "<q", 41): "41 rows",
        with_number(32, "<B", 0): "damaged",
        with_number(37, "<Q", 2**62): "numbers",
    }.items():
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=said):
            FlatFile(path)


def test_what_faiss_writes_for_other_indexes_is_refused(tmp_path: Path) -> None:
    for name, index in {"l2": faiss.IndexFlatL2(4), "l1": faiss.IndexFlat(4, faiss.METRIC_L1)}.items():
        faiss.write_index(index, str(tmp_path / name))
        with pytest.raises(IntegrityError, match="inner-product"):
            FlatFile(tmp_path / name)


def test_a_copy_that_lies_aligned_is_searched_instead_of_the_file(tmp_path: Path, stored: np.ndarray) -> None:
    path = tmp_path / "index"
    flat_file.write(path, [stored], 12)
    backend = FaissBackend("cpu")
    turned = np.ascontiguousarray(stored[::-1])  # other rows, so that it shows which were searched
    _, rows = backend.load(path, [turned[:10], turned[10:]]).search(stored[:1], 1)
    assert rows[0, 0] == 39
    # The file tells what is stored, and goes first where the copy does not fit.
    np.testing.assert_array_equal(backend.load(path, [turned]).stored(np.arange(40)), stored)
    unaligned = np.frombuffer(b"x" + turned.tobytes(), dtype=np.uint8)[1:].view(np.float32).reshape(40, 12)
    assert not unaligned.flags.aligned
    for no_copy in ([], [turned[:39]], [turned.astype(np.float64)], [unaligned], [np.asfortranarray(turned)]):
        _, rows = backend.load(path, no_copy).search(stored[:1], 1)
        assert rows[0, 0] == 0


def test_an_opened_index_grows_and_is_saved_again(tmp_path: Path, stored: np.ndarray) -> None:
    flat_file.write(tmp_path / "index", [stored[:30]], 12)
    index = FaissBackend("cpu").load(tmp_path / "index")
    for row in range(30, 40):
        index.add(stored[row : row + 1])
    index.save(tmp_path / "again")
    np.testing.assert_array_equal(FlatFile(tmp_path / "again").read(), stored)
    np.testing.assert_array_equal(index.search(stored, 1)[1][:, 0], np.arange(40))


def test_what_is_added_may_be_changed_afterwards(stored: np.ndarray) -> None:
    index = FaissBackend("cpu").create(12)
    mine = stored.copy()
    index.add(mine)
    mine[:] = mine[::-1].copy()
    np.testing.assert_array_equal(index.stored(np.arange(40)), stored)


def test_opening_and_searching_on_the_cpu_import_no_faiss(tmp_path: Path, stored: np.ndarray) -> None:
    flat_file.write(tmp_path / "index", [stored], 12)
    code = (
        "import sys\nfrom pathlib import Path\nfrom zsretrieve.backends import loading as backend_loading\n"
        "for asked in ('cpu', 'auto'):\n"
        "    index = backend_loading.index_backend(asked).load(Path(sys.argv[1]))\n"
        "    index.search(index.stored(__import__('numpy').arange(3)), 5)\n"
        "    index.save(Path(sys.argv[1] + '.again'))\n"
        "    assert index.device != 'cpu' or 'faiss' not in sys.modules\n"
        "print(index.device)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "index"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
