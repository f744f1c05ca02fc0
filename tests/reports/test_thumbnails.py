"""Images of a page: upright, small, from wherever they are, and with the reason where they are gone."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from zsretrieve.domain.settings import Reading
from zsretrieve.reports.thumbnails import Thumbnail, thumbnails


def pixels(found: Thumbnail) -> Image.Image:
    assert found.uri is not None
    head, data = found.uri.split(",")
    assert head == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format == "JPEG"
    assert image.size == (found.width, found.height)
    return image


def half_red(path: Path, size: tuple[int, int], **options: object) -> str:
    """A picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", size, (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    image.save(path, **options)
    return str(path)


def test_a_picture_is_turned_upright_as_it_was_encoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    path = half_red(tmp_path / "a.jpg", (800, 400), exif=exif, quality=95)
    upright = pixels(thumbnails([(path, "")], Reading())[path])
    assert upright.size == (96, 192)
    assert upright.getpixel((48, 20))[0] > 200
    assert upright.getpixel((48, 170))[2] > 200
    as_stored = pixels(thumbnails([(path, "")], Reading(exif=False))[path])
    assert as_stored.size == (192, 96)
    assert as_stored.getpixel((20, 48))[0] > 200
    assert not upright.getexif()


def test_small_images_keep_their_size_and_thin_ones_a_side(tmp_path: Path) -> None:
    for size, shown in (((5, 3), (5, 3)), ((1, 1), (1, 1)), ((2000, 2), (192, 1)), ((400, 300), (192, 144))):
        path = half_red(tmp_path / f"{size}.png", size)
        assert pixels(thumbnails([(path, "")], Reading())[path]).size == shown


def test_every_mode_is_shown_as_the_model_sees_it(tmp_path: Path) -> None:
    wanted = []
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (20, 20)).save(path)
        wanted.append((str(path), ""))
    found = thumbnails(wanted, Reading())
    assert all(pixels(one).mode == "RGB" for one in found.values())
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (9, 9), (250, 10, 10, 0)).save(clear)
    assert pixels(thumbnails([(str(clear), "")], Reading())[str(clear)]).getpixel((4, 4))[0] > 230


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    gone, broken, large = (str(tmp_path / name) for name in ("gone.png", "broken.png", "large.png"))
    Path(broken).write_bytes(b"no picture")
    Image.new("L", (100, 100)).save(large)
    found = thumbnails([(gone, ""), (broken, ""), (large, "")], Reading(max_pixels=5000))
    assert all(one.uri is None for one in found.values())
    assert found[gone].problem == "no such file or directory"
    assert found[broken].problem == "not a readable image"
    assert str(found[large].problem).startswith("too many pixels")


def test_a_file_that_is_another_now_is_shown_and_said_to_be(tmp_path: Path) -> None:
    path = half_red(tmp_path / "a.png", (9, 9))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert thumbnails([(path, digest)], Reading())[path].problem is None
    changed = thumbnails([(path, "0" * 64)], Reading())[path]
    assert changed.problem == "changed since it was encoded"
    assert changed.uri == thumbnails([(path, "")], Reading())[path].uri


def test_images_in_archives_are_read_there(tmp_path: Path) -> None:
    path = half_red(tmp_path / "a.png", (9, 9))
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(path, "class/a.png")
    inside = f"{tmp_path / 'some.tar'}!/class/a.png"
    found = thumbnails([(inside, ""), (path, ""), (inside, "")], Reading())
    assert list(found) == [inside, path]
    assert found[inside] == found[path]


def test_noise_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(path)
    uri = thumbnails([(str(path), "")], Reading())[str(path)].uri
    assert uri is not None
    assert len(uri) < 40_000  # 120 of them make less than 5 MB
