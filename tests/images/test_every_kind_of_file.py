"""The table of docs/files.md, row by row, and all of it in one run."""

from __future__ import annotations

import csv
import os
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder
from kits.images import open_image
from kits.processes import as_nobody, in_process
from PIL import Image, ImageCms

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError, SkippedInputError
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source
from zsretrieve.images import decoding, sources
from zsretrieve.images.content import read_file

Writer = Callable[[Path], None]
RNG = np.random.default_rng(0)
RGB = Image.fromarray(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8))
GREY = RGB.convert("L")


def saved(image: Image.Image, form: str, **options: object) -> Writer:
    return lambda path: image.save(path, form, **options)


def cut(image: Image.Image, form: str, share: float = 0.5) -> Writer:
    def write(path: Path) -> None:
        image.save(path, form)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return write


def content(data: bytes) -> Writer:
    return lambda path: path.write_bytes(data) and None


def bomb(path: Path) -> None:
    """A PNG of 30,000 x 30,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))


def hidden_bomb(path: Path) -> None:
    """An icon file of 512 x 512 pixels that holds a PNG of 30,000 x 30,000."""
    bomb(path)
    inner = path.read_bytes()
    path.write_bytes(b"icns" + struct.pack(">I", len(inner) + 16) + b"ic09" + struct.pack(">I", len(inner) + 8) + inner)


def large_tile(path: Path) -> None:
    """A TIFF of 10 x 10 pixels in one tile of 30,000 x 30,000."""
    values = {256: 10, 257: 10, 258: 8, 259: 5, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 324: 8, 325: 20}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    path.write_bytes(b"II*\0" + struct.pack("<I", 28) + bytes(20) + struct.pack("<H", len(values)) + tags + bytes(4))


def large_frame(path: Path) -> None:
    """A GIF of 10 x 10 pixels whose first frame has 30,000 x 30,000."""
    Image.new("P", (10, 10)).save(path, "GIF")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x2c") + 5
    data[at : at + 4] = struct.pack("<HH", 30_000, 30_000)
    path.write_bytes(data)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as place:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have no more than about 100 characters
        try:
            place.bind(path.name)
        finally:
            os.chdir(here)


def turned(orientation: int) -> Writer:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(RGB, "JPEG", exif=exif)


def heic(path: Path) -> None:
    pillow_heif.from_pillow(RGB).save(path)


def ycck(path: Path) -> None:
    """A CMYK JPEG whose Adobe marker says that its colours are stored as YCCK."""
    RGB.convert("CMYK").save(path, "JPEG")
    data = path.read_bytes()
    at = data.index(b"Adobe") + 11
    path.write_bytes(data[:at] + b"\x02" + data[at + 1 :])


def with_profile(path: Path) -> None:
    RGB.save(path, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


TRANSPARENT = RGB.copy()
TRANSPARENT.putalpha(Image.fromarray(RNG.integers(0, 256, (40, 60), dtype=np.uint8)))
PALETTE = RGB.convert("P")
DEEP = Image.fromarray(RNG.integers(0, 65536, (40, 60), dtype=np.uint16))
FLOAT = Image.fromarray(RNG.random((40, 60), dtype=np.float32))
FRAMES = {"save_all": True, "append_images": [GREY.convert("RGB")]}

GOOD: dict[str, Writer] = {
    "jpeg named.png": saved(RGB, "JPEG"),
    "png named.jpg": saved(RGB, "PNG"),
    "webp named.gif": saved(RGB, "WEBP"),
    "grey.jpg": saved(GREY, "JPEG"),
    "1-bit.png": saved(RGB.convert("1"), "PNG"),
    "palette.png": saved(PALETTE, "PNG"),
    "palette transparent.png": saved(PALETTE, "PNG", transparency=3),
    "palette transparent bytes.png": saved(PALETTE, "PNG", transparency=bytes(range(256))),
    "cmyk.jpg": saved(RGB.convert("CMYK"), "JPEG"),
    "ycck.jpg": ycck,
    "rgba.png": saved(TRANSPARENT, "PNG"),
    "la.png": saved(TRANSPARENT.convert("LA"), "PNG"),
    "16-bit.png": saved(DEEP, "PNG"),
    "16-bit.tif": saved(DEEP, "TIFF"),
    "float.tif": saved(FLOAT, "TIFF"),
    "32-bit.tif": saved(Image.fromarray(RNG.integers(0, 2**31, (40, 60), dtype=np.int32)), "TIFF"),
    "animated.gif": saved(RGB, "GIF", **FRAMES),
    "animated.webp": saved(RGB, "WEBP", **FRAMES),
    "animated.apng": saved(RGB, "PNG", **FRAMES),
    "two views.mpo": saved(RGB, "MPO", **FRAMES),
    **{f"exif {n}.jpg": turned(n) for n in range(1, 10)},
    "profile.png": with_profile,
    "1 wide.png": saved(Image.new("RGB", (1, 150), "red"), "PNG"),
    "1 high.png": saved(Image.new("RGB", (150, 1), "red"), "PNG"),
    "1 pixel.png": saved(Image.new("RGB", (1, 1), "red"), "PNG"),
    "a.avif": saved(RGB, "AVIF"),
    "a.jp2": saved(RGB, "JPEG2000"),
    "a.webp": saved(RGB, "WEBP"),
    "a.tif": saved(RGB, "TIFF"),
    "a.bmp": saved(RGB, "BMP"),
    "a.tga": saved(RGB, "TGA"),
    "a.ppm": saved(RGB, "PPM"),
    "a.heic": heic,
    "with 'quotes\" and\nnewline.png": saved(RGB, "PNG"),
    "-dash.png": saved(RGB, "PNG"),
    "日本語 🙂.png": saved(RGB, "PNG"),
    os.fsdecode(b"raw-\xff.png"): saved(RGB, "PNG"),
    "UPPER.JPG": saved(RGB, "JPEG"),
}
BAD: dict[str, tuple[Writer, str]] = {
    "empty.jpg": (content(b""), "empty file"),
    "empty.png": (content(b""), "empty file"),
    "cut.jpg": (cut(RGB, "JPEG"), "damaged image"),
    "cut.png": (cut(RGB, "PNG"), "damaged image"),
    "cut.webp": (cut(RGB, "WEBP"), "not a readable image|damaged image"),
    "cut.gif": (cut(RGB, "GIF"), "damaged image"),
    "cut.tif": (cut(RGB, "TIFF", 0.3), "not a readable image|damaged image"),
    "cut.avif": (cut(RGB, "AVIF", 0.7), "not a readable image|damaged image"),
    "cut.jp2": (cut(RGB, "JPEG2000", 0.1), "not a readable image|damaged image"),
    "cut.heic": (
        lambda path: (heic(path), path.write_bytes(path.read_bytes()[:200]), None)[-1],
        "not a readable|damaged",
    ),
    "only a header.jpg": (content(b"\xff\xd8\xff\xe0"), "not a readable image|damaged image"),
    "only a header.png": (content(b"\x89PNG\r\n\x1a\n"), "not a readable image|damaged image"),
    "text.jpg": (content(b"hello"), "not a readable image"),
    "page.jpg": (content(b"<!doctype html><p>404"), "not a readable image"),
    "drawing.png": (content(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not a readable image"),
    "archive.jpg": (content(b"PK\x03\x04" + bytes(100)), "not a readable image"),
    "zeros.jpg": (content(bytes(5000)), "not a readable image"),
    "noise.png": (content(RNG.bytes(5000)), "not a readable image"),
    "bomb.png": (bomb, "too many pixels"),
    "large tile.tif": (large_tile, "too many pixels"),
    "large frame.gif": (large_frame, "too many pixels"),
    "icons.png": (hidden_bomb, "not a readable image"),
    "postscript.png": (saved(RGB, "EPS"), "not a readable image"),
    "no value.tif": (saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "no pixel has a finite"),
    "pipe.jpg": (lambda path: os.mkfifo(path), "not a regular file"),
    "socket.jpg": (listening, "not a regular file"),
    "device.jpg": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "broken link.jpg": (lambda path: path.symlink_to("nowhere.jpg"), "no such file"),
    "looping link.jpg": (lambda path: path.symlink_to(path.name), "too many levels"),
}


@pytest.mark.parametrize("name", list(GOOD))
def test_is_read(tmp_path: Path, name: str) -> None:
    GOOD[name](tmp_path / name)
    found = open_image(tmp_path / name)
    encoder = HashingEncoder()
    vector = encoder.encode_prepared([encoder.prepare(found.image)])
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("name", list(BAD))
def test_is_skipped_with_its_reason(tmp_path: Path, name: str) -> None:
    write, reason = BAD[name]
    write(tmp_path / name)
    with pytest.raises(ImageError, match=reason):
        open_image(tmp_path / name)


@pytest.mark.parametrize(("name", "form"), [("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.apng", "PNG"), ("a.mpo", "MPO")])
def test_the_first_frame_counts(tmp_path: Path, name: str, form: str) -> None:
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    red.save(tmp_path / name, form, save_all=True, append_images=[blue])
    with Image.open(tmp_path / name) as written:
        assert getattr(written, "n_frames", 1) == 2
    pixels = np.asarray(open_image(tmp_path / name).image.convert("RGB"))
    assert pixels[..., 0].min() > 200
    assert pixels[..., 2].max() < 60


def _open(path: Path) -> None:
    open_image(path)


def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as where:
        path = Path(where) / "a.png"
        RGB.save(path)
        Path(where).chmod(0o755)
        path.chmod(0)
        assert in_process(as_nobody, _open, path) == "permission denied | None"


def test_heic_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heic(tmp_path / "a.heic")
    decoding._register_heif.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="pip install pillow-heif"):
        open_image(tmp_path / "a.heic")


@pytest.mark.parametrize(
    "error", [RecursionError(), KeyError("x"), SystemError("codec"), MemoryError(), AssertionError()]
)
def test_a_decoder_may_raise_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    RGB.save(tmp_path / "a.png")

    def load(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ImageError, match=r"damaged image|out of memory"):
        open_image(tmp_path / "a.png")


def test_the_limit_in_pixels_is_an_option_sized_to_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RGB.save(tmp_path / "a.png")
    pixels = RGB.width * RGB.height
    assert open_image(tmp_path / "a.png", Reading(max_pixels=pixels)).width == RGB.width
    with pytest.raises(ImageError, match=r"too many pixels: .* \(--max-megapixels\)"):
        open_image(tmp_path / "a.png", Reading(max_pixels=pixels - 1))
    assert 64_000_000 <= decoding.default_max_pixels() <= 2_000_000_000
    source = sources.folder(tmp_path)
    assert len(encode_source(source, Model.of(HashingEncoder()), Reading(max_pixels=pixels)).items) == 1
    # Pillow's own limit is out of force while a source is read, and back in force afterwards.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert len(encode_source(source, Model.of(HashingEncoder()), Reading(max_pixels=pixels)).items) == 1
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(ImageError, match="too many pixels"):
        open_image(tmp_path / "a.png")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows once is read again; one that never stays the same is skipped."""
    path = tmp_path / "a.png"
    RGB.save(path)
    whole = path.read_bytes()
    fstat, calls = os.fstat, 0

    def growing(number: int, times: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls <= times:
            with open(path, "ab") as file:
                file.write(b"\0")
        return fstat(number)

    monkeypatch.setattr(os, "fstat", lambda number: growing(number, 1))
    assert read_file(path).data == whole + b"\0"
    calls = 0
    monkeypatch.setattr(os, "fstat", lambda number: growing(number, 100))
    with pytest.raises(ImageError, match="changed while it was being read"):
        read_file(path)


def test_gone_between_listing_and_reading(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        RGB.save(tmp_path / name)
    source = sources.folder(tmp_path)
    (tmp_path / "b.png").unlink()
    encoded = encode_source(source, Model.of(HashingEncoder()), Reading())
    assert [item.id for item in encoded.items] == [0, 2]
    assert [(s.path, s.reason) for s in encoded.skipped] == [("b.png", "no such file or directory")]


def hostile(folder: Path) -> set[str]:
    """More than sixty files of which nothing can be made; their names."""
    writers = {name: write for name, (write, _) in BAD.items()}
    for form, suffix in (
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("PPM", "ppm"),
    ):
        for share in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9):
            writers[f"cut to {share:.0%}.{suffix}"] = cut(RGB, form, share)
    for number in range(12):
        writers[f"noise {number}.{('jpg', 'png', 'tif', 'webp')[number % 4]}"] = content(RNG.bytes(1 + 400 * number))
    for name, write in writers.items():
        write(folder / name)
    return set(writers)


def test_a_hundred_sound_ones_among_hostile_ones(tmp_path: Path, run_cli: Run) -> None:
    """From the command line: the sound ones are indexed, every other one is listed with its reason, exit code 0."""
    folder = tmp_path / "in"
    folder.mkdir()
    sound = {f"sound {number:03}.png" for number in range(100)}
    for name in sound:
        GREY.save(folder / name)
    bad = hostile(folder)
    assert len(bad) >= 60
    done = run_cli("index", "gallery", folder, tmp_path / "g", "--model", "demo", "--skipped", tmp_path / "skipped.csv")
    assert done.returncode == 0, done.stderr
    assert "100 images -> " in done.stderr
    assert f"{len(bad)} skipped" in done.stderr
    with open(tmp_path / "skipped.csv", newline="", encoding="utf-8") as file:
        listed = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(listed) == bad
    assert all(listed.values())
    gallery = zs.open_gallery(tmp_path / "g")
    assert {item.path for item in gallery.items} == sound
    places = [f.path for f in sources.folder(folder).files]
    assert all(places[item.id] == item.path for item in gallery.items)


def test_all_of_them_in_one_folder(tmp_path: Path) -> None:
    """Every hostile file among 100 sound ones: what can be read is indexed, the rest is listed with its reason."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(100):
        GREY.save(folder / f"sound {number:03}.png")
    for name, write in GOOD.items():
        write(folder / name)
    for name, (write, _) in BAD.items():
        write(folder / name)
    (folder / "notes.svg").write_text("<svg/>")
    (folder / "folder.jpg").mkdir()
    assert len(GOOD) + len(BAD) >= 60
    gallery = zs.build_gallery(folder, tmp_path / "gallery", HashingEncoder())
    assert {item.path for item in gallery.items} == {f"sound {n:03}.png" for n in range(100)} | set(GOOD)
    assert {s.path for s in gallery.manifest.skipped} == set(BAD)
    assert all(s.reason for s in gallery.manifest.skipped)
    listed = [f.path for f in sources.folder(folder).files]
    assert all(listed[item.id] == item.path for item in gallery.items)
    with pytest.raises(SkippedInputError):
        zs.build_gallery(folder, tmp_path / "strict", HashingEncoder(), reading=Reading(strict=True))
