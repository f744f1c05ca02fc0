import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.images import open_image, picture
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.records import Preprocessing
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.images.content import read_file
from zsretrieve.images.decoding import decode, opened_image, own_pixel_limit


def test_a_picture_and_its_facts(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    content = read_file(path)
    assert (len(content.data), content.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert len(content.digest) == 64
    decoded = decode(content, Reading())
    assert (decoded.width, decoded.height) == (8, 6)


@pytest.mark.parametrize("form", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, form: str) -> None:
    """Pillow turns some formats by itself, TIFF among them."""
    upright = np.zeros((4, 8, 3), dtype=np.uint8)
    upright[0, 0] = 255
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(upright)
    if undo is not None:
        stored = stored.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{form}"
    stored.save(path, exif=exif, **({"lossless": True} if form == "webp" else {}))
    turned, as_stored = open_image(path), open_image(path, Reading(exif=False))
    np.testing.assert_array_equal(np.asarray(turned.image), upright)
    np.testing.assert_array_equal(np.asarray(opened_image(turned.image, Reading())), upright)  # it is not turned twice
    np.testing.assert_array_equal(np.asarray(as_stored.image), np.asarray(stored))
    assert (turned.width, turned.height) == (8, 4)
    assert (as_stored.width, as_stored.height) == stored.size


def test_modes_pass_as_the_plain_path_has_them_and_deep_ones_keep_their_range(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        assert open_image(picture(tmp_path / f"{mode}.png", mode=mode)).image.mode == mode
    deep = np.linspace(0, 65535, 48, dtype=np.uint16).reshape(6, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    values = np.asarray(open_image(tmp_path / "deep.png").image)
    assert values.dtype == np.uint8
    np.testing.assert_allclose(values, deep / 257, atol=1)
    Image.fromarray(np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)).save(tmp_path / "float.tif")
    assert np.asarray(open_image(tmp_path / "float.tif").image).max() == 255


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
            open_image(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="too many pixels"):
        open_image(tmp_path / "whole.png")


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
        assert set(open_image(path).image.size) == {6, 8}


def test_32_bit_pictures_of_8_bit_values_are_not_black(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.int32).reshape(6, 8) * 5
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.tif").image), values)


def ramp(low: float, high: float, dtype: str = "uint16") -> NDArray[Any]:
    return np.linspace(low, high, 48).astype(dtype).reshape(6, 8)


@pytest.mark.parametrize(
    ("values", "suffix", "expected"),
    [
        (ramp(0, 4095), "png", ramp(0, 255, "uint8")),  # 12 bits of 16
        (ramp(0, 1000), "png", ramp(0, 1000 / 1023 * 255, "uint8")),
        (ramp(0, 30000), "png", ramp(0, 30000 / 65535 * 255, "uint8")),  # a dark image stays dark
        (ramp(0, 4095), "tif", ramp(0, 255, "uint8")),
        (ramp(0, 200000, "int32"), "tif", ramp(0, 255, "uint8")),
        (ramp(0, 306, "float32"), "tif", ramp(0, 255, "uint8")),
        (ramp(0, 0.5, "float32"), "tif", ramp(0, 127.5, "uint8")),
        (ramp(-1, 1, "float32"), "tif", ramp(0, 255, "uint8")),
    ],
    ids=["12 bits", "10 bits", "dark", "tiff", "32 bits", "float", "float to 1", "around 0"],
)
def test_deep_images_are_scaled_by_the_range_that_they_use(
    tmp_path: Path, values: NDArray[Any], suffix: str, expected: NDArray[Any]
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    decoded = open_image(path)
    assert decoded.scaled
    np.testing.assert_allclose(np.asarray(decoded.image).astype(int), expected.astype(int), atol=1)


def test_values_that_are_not_numbers_do_not_darken_the_others(tmp_path: Path) -> None:
    values = ramp(0, 1, "float32")
    values[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    pixels = np.asarray(open_image(tmp_path / "a.tif").image)
    assert pixels[0, :3].tolist() == [0, 255, 0]
    np.testing.assert_allclose(pixels[1:], values[1:] * 255, atol=1)
    values[:] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="no pixel has a finite value"):
        open_image(tmp_path / "a.tif")


def test_missing_values_far_below_zero_do_not_whiten_the_others(tmp_path: Path) -> None:
    values = ramp(0, 100, "float32")
    values[0, 0] = -9999
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.asarray(open_image(tmp_path / "a.tif").image)[-1].max() == 100
    assert not open_image(picture(tmp_path / "plain.png")).scaled


FAST = Reading(fast=True)
SQUARE = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")


def soft(size: tuple[int, int]) -> Image.Image:
    coarse = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [((1024, 768), (128, 96)), ((500, 300), (125, 75)), ((255, 128), (128, 64)), ((128, 127), (128, 127))],
)
def test_a_large_jpeg_may_be_decoded_at_a_part_of_its_size(
    tmp_path: Path, size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    soft(size).save(tmp_path / "a.jpg", quality=95)
    content = read_file(tmp_path / "a.jpg")
    exact, fast = decode(content, Reading(), SQUARE), decode(content, FAST, SQUARE)
    assert fast.image.size == decoded
    assert (fast.width, fast.height) == (exact.width, exact.height) == size
    one, other = (prepare(picture.image, SQUARE).astype(float) for picture in (exact, fast))
    assert np.abs(one - other).mean() < 3


def test_fast_decoding_keeps_what_lies_on_its_side_large_enough(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    soft((1600, 200)).save(tmp_path / "a.jpg", exif=exif)
    content = read_file(tmp_path / "a.jpg")
    wide = Preprocessing((200, 100), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash")  # upright: 200 high, 100 wide
    fast = decode(content, FAST, wide)
    assert (fast.image.size, fast.width, fast.height) == ((100, 800), 200, 1600)
    stored = decode(content, Reading(exif=False, fast=True), wide)
    assert (stored.image.size, stored.width, stored.height) == ((1600, 200), 1600, 200)


def test_fast_decoding_leaves_other_formats_alone(tmp_path: Path) -> None:
    soft((640, 480)).save(tmp_path / "a.png")
    content = read_file(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(content, FAST, SQUARE).image, decode(content, Reading()).image)
    thin = Image.new("RGB", (3, 4000))
    thin.save(tmp_path / "thin.jpg")
    longest = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, "bicubic", "longest")
    assert decode(read_file(tmp_path / "thin.jpg"), FAST, longest).height == 4000


def test_pillow_s_limit_is_out_of_force_until_the_last_of_overlapping_runs_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    first, second = own_pixel_limit(), own_pixel_limit()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 1000
