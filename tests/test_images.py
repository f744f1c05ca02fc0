import os
from pathlib import Path

import numpy as np
import pytest
from kits.images import picture
from PIL import Image

from zsretrieve.errors import ImageError
from zsretrieve.images import open_picture


def test_a_picture_and_its_facts(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    found = open_picture(path)
    assert (found.width, found.height, found.bytes) == (8, 6, path.stat().st_size)
    assert found.mtime_ns == path.stat().st_mtime_ns
    assert len(found.digest) == 64


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((4, 8, 3), dtype=np.uint8)
    upright[0, 0] = 255
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(upright)
    if undo is not None:
        stored = stored.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a.png").image), upright)
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a.png", exif=False).image), np.asarray(stored))


def test_modes_pass_as_the_plain_path_has_them_and_deep_ones_keep_their_range(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        assert open_picture(picture(tmp_path / f"{mode}.png", mode=mode)).image.mode == mode
    deep = np.linspace(0, 65535, 48, dtype=np.uint16).reshape(6, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    values = np.asarray(open_picture(tmp_path / "deep.png").image)
    assert values.dtype == np.uint8
    np.testing.assert_allclose(values, deep / 257, atol=1)
    Image.fromarray(np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)).save(tmp_path / "float.tif")
    assert np.asarray(open_picture(tmp_path / "float.tif").image).max() == 255


def test_unreadable_pictures_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    whole = picture(tmp_path / "whole.png", (64, 64)).read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in {
        "empty.jpg": "empty file",
        "text.jpg": "not a readable image",
        "short.png": "damaged image",
        "folder.jpg": "not a regular file|is a directory",
        "pipe.jpg": "not a regular file",
        "missing.jpg": "no such file",
    }.items():
        with pytest.raises(ImageError, match=reason):
            open_picture(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="too many pixels"):
        open_picture(tmp_path / "whole.png")


def test_a_damaged_exif_block_does_not_lose_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = picture(tmp_path / "a.jpg", (8, 6), exif=exif)
    whole = path.read_bytes()
    start = whole.index(b"Exif\0\0") + 6
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(start, start + 24, 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        assert set(open_picture(path).image.size) == {6, 8}


def test_32_bit_pictures_of_8_bit_values_are_not_black(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.int32).reshape(6, 8) * 5
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a.tif").image), values)
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(tmp_path / "nan.tif")
    assert open_picture(tmp_path / "nan.tif").image.mode == "L"
