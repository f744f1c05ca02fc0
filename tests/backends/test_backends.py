from pathlib import Path

import faiss
import numpy as np
import pytest
from kits.exact_index import NumpyBackend
from kits.index_kit import check_index, full_sort

from zsretrieve.backends import loading as backend_loading
from zsretrieve.backends.faiss_flat import FaissBackend, FaissFlatIndex, half_score_error
from zsretrieve.domain.errors import DeviceError, RankError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.vectors import unit_rows

needs_gpu = pytest.mark.skipif(
    not (hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus()), reason="FAISS sees no GPU on this machine"
)


def test_numpy_oracle(tmp_path: Path) -> None:
    check_index(NumpyBackend(), tmp_path)


def test_faiss_cpu(tmp_path: Path) -> None:
    check_index(FaissBackend("cpu"), tmp_path)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
def test_faiss_gpu(tmp_path: Path, half: bool) -> None:
    check_index(FaissBackend("cuda", half=half), tmp_path)


@pytest.mark.parametrize("backend", [NumpyBackend(), FaissBackend("cpu")])
def test_rows_that_are_not_there_are_refused(backend: IndexBackend, tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(3).standard_normal((6, 4)))
    index = backend.create(4)
    index.add(vectors[:2])
    index.add(vectors[2:])
    index.save(tmp_path / "index.faiss")
    for one in (index, backend.load(tmp_path / "index.faiss")):
        np.testing.assert_array_equal(one.stored(np.array([[5, 0], [2, 2]])), vectors[[[5, 0], [2, 2]]])
        assert one.stored(np.empty(0, dtype=np.int64)).shape == (0, 4)
        for beyond in (-1, 6):
            with pytest.raises(RankError, match=f"row {beyond} is asked for, but the index holds 6 rows"):
                one.stored(np.array([[0, beyond]]))


class HalfPrecisionMirror(FaissFlatIndex):
    """Stands where the GPU's float16 copy would, so that settling its rounding is tested on every machine."""

    def _mirror(self) -> object:
        copy = faiss.index_factory(self.dim, "SQfp16", faiss.METRIC_INNER_PRODUCT)
        copy.add(self.stored(np.arange(len(self))))
        return copy


def test_half_precision_copies_give_exact_results() -> None:
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((1, 96))
    stored = unit_rows(centre + 0.1 * rng.standard_normal((4000, 96)))
    queries = unit_rows(centre + 0.1 * rng.standard_normal((60, 96)))
    index = HalfPrecisionMirror(96, device="cuda", half=True)
    index.add(stored)
    raw = index._mirror().search(queries, 10)[1]
    expected_scores, expected_rows = full_sort(stored, queries, 10)
    assert (raw != expected_rows).any(), "the copy alone must be wrong somewhere, or this test shows nothing"
    scores, rows = index.search(queries, 10)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_the_rounding_of_float16_is_bounded() -> None:
    """The worst there is: a factor just above the middle of two numbers, and many too small for float16."""
    middle = np.array([[1 + 2.0**-11 + 2.0**-23]])
    small, equal = np.array([[1.0, *[2.0**-25] * 767]]), np.full((1, 768), 768**-0.5)
    for one, other, least in ((middle, middle, 2.0**-10 + 2.0**-22), (small, equal, 2.0**-21)):
        pair = [side.astype(np.float32) for side in (one, other)]
        rounded = [side.astype(np.float16).astype(np.float64) for side in pair]
        error = abs(rounded[0] @ rounded[1].T - full_sort(*pair, 1)[0]).max()
        assert least < error <= half_score_error(one.shape[1])


def test_selections_and_ranges_do_not_ask_a_gpu_s_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = unit_rows(np.random.default_rng(1).standard_normal((500, 96)))
    index = HalfPrecisionMirror(96, device="cuda", half=True)
    index.add(stored)
    monkeypatch.setattr(HalfPrecisionMirror, "_mirror", lambda self: pytest.fail("the copy was asked"))
    chosen = np.arange(0, 500, 2)
    for asked in (3, 30):
        np.testing.assert_array_equal(index.search(stored[:asked], 1, chosen)[1][::2, 0], np.arange(0, asked, 2))
    np.testing.assert_array_equal(index.range_search(stored, 0.999)[2], np.arange(500))


def test_an_index_stays_on_the_cpu_where_faiss_sees_no_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """torch may see a GPU that the installed FAISS was not built for."""
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    for device in ("cuda", "cuda:9", "cuda:all", "cuda:0,cuda:1"):
        caplog.clear()
        assert backend_loading.index_backend(device).create(4).device == "cpu"
        (line,) = caplog.messages
        assert line.startswith(f"there is no device '{device}': FAISS sees 0 GPUs. The index stays on the CPU. ")


@pytest.mark.parametrize(
    ("device", "said"),
    [("tpu", "not a device"), ("cuda:foo", "not a device"), ("cuda:0,", "not a device"), ("cuda:1,cuda:1", "twice")],
)
def test_a_malformed_device_is_an_error_wherever_it_runs(
    device: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    with pytest.raises(DeviceError, match=said):
        backend_loading.index_backend(device)
