from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.prompts import read_classes
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.images.sources import cifar
from zsretrieve.reproduction.run import data_digest

NAMES = read_classes("cifar10", provide).names


def batch(path: Path, count: int = 40) -> np.ndarray:
    """Write a batch of random pictures; its records."""
    records = np.random.default_rng(3).integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(count) % 10
    path.parent.mkdir(parents=True, exist_ok=True)
    records.tofile(path)
    return records


@pytest.mark.parametrize("where", [".", "cifar-10-batches-bin", "cifar-10-batches-bin/test_batch.bin"])
def test_every_pixel_of_the_binary_form(tmp_path: Path, where: str) -> None:
    records = batch(tmp_path / "cifar-10-batches-bin" / "test_batch.bin")
    table = zs.published_table("cifar10")
    for _ in range(2):  # the second time it is there
        found = zs.find_images(tmp_path / where, table, work=tmp_path / "work")
        assert len(found.files) == 40
        for file in found.files:
            number = int(Path(file.path).stem)
            assert file.label == NAMES[number % 10]
            picture = np.asarray(Image.open(found.address(file)))
            # Red, green and blue planes, each row by row.
            assert np.array_equal(picture.transpose(2, 0, 1).ravel(), records[number, 1:])
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_another_batch_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    for count in (20, 30):
        batch(tmp_path / str(count) / "test_batch.bin", count)
        found = zs.find_images(tmp_path / str(count), "cifar10", work=tmp_path / "work")
        assert len(found.files) == count
    batch(tmp_path / "30" / "test_batch.bin", 40)  # the same file, written again
    assert len(zs.find_images(tmp_path / "30", "cifar10", work=tmp_path / "work").files) == 40


def test_unpacked_again_they_are_the_same_pictures(tmp_path: Path) -> None:
    batch(tmp_path / "test_batch.bin")
    digests = set()
    for work in ("one", "two"):
        digests.add(data_digest(zs.find_images(tmp_path, "cifar10", work=tmp_path / work)))
    assert len(digests) == 1


def test_another_process_may_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch(tmp_path / "test_batch.bin")
    rename = Path.rename

    def late(beside: Path, out: Path) -> Path:
        (out / "ship").mkdir(parents=True)
        return rename(beside, out)

    monkeypatch.setattr(Path, "rename", late)
    made = cifar.unpack(tmp_path / "test_batch.bin", NAMES, tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == [made.name]


def test_what_is_no_batch(tmp_path: Path) -> None:
    records = batch(tmp_path / "good.bin")
    records[7, 0] = 10
    for name, content in {"short": bytes(3072), "empty": b"", "label": records.tobytes()}.items():
        file = tmp_path / f"{name}.bin"
        file.write_bytes(content)
        with pytest.raises(SourceError, match="is not a binary batch of CIFAR-10"):
            cifar.unpack(file, NAMES, tmp_path / "out")
    with pytest.raises(SourceError, match="cannot be read"):
        cifar.unpack(tmp_path / "none.bin", NAMES, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_pickled_form_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for where in (tmp_path, folder):
        with pytest.raises(SourceError, match="pickled Python, which is never opened"):
            zs.find_images(where, zs.published_table("cifar10"))


def test_folders_of_images_are_found_where_they_are(tmp_path: Path) -> None:
    for folder in ("cifar/test/ship", "nette/val/n01440764", "nette/train/n01440764"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / folder / "one.png")
    for name, where, label in (("cifar10", "cifar", "ship"), ("imagenette", "nette", "n01440764")):
        table = zs.published_table(name)
        (file,) = zs.find_images(tmp_path / where, table).files
        assert (file.path, file.label) == (f"{label}/one.png", label)
    assert len(zs.find_images(tmp_path / "nette" / "train", zs.published_table("imagenette")).files) == 1
