"""Galleries of coloured shapes, and a server of them for the tests of its page."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import zsretrieve as zs
from kits.browser import serving
from zsretrieve.demo import scenes
from zsretrieve.domain.ports import Encoder

_DAY = 86_400
_FIRST = 1_704_110_400  # noon of 2024-01-01


@dataclass(frozen=True)
class Galleries:
    """A server of galleries: ``shapes`` has labels, folders, dates of 2024, images of all shapes, and a map;
    ``worn`` has three without labels, of which the second is missing and the third damaged; ``none`` has none.
    """

    address: str
    folder: Path

    @property
    def shapes(self) -> Path:
        return self.folder / "shapes"


def _draw(root: Path) -> None:
    rng = random.Random(9)
    names = [name for name in scenes.class_names() if name.split()[0] in ("red", "blue", "green", "yellow")]
    for number in range(200):
        name = names[number % len(names)]
        image = scenes.draw(scenes.single(name, rng))
        width, height = [(128, 128), (128, 96), (90, 128), (128, 128)][number % 4]
        path = root / name / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((0, 0, width, height)).resize((width * 4, height * 4), Image.Resampling.LANCZOS).save(
            path, quality=88
        )
        os.utime(path, (_FIRST + number * _DAY,) * 2)


@contextlib.contextmanager
def galleries(folder: Path, encoder: Encoder) -> Iterator[Galleries]:
    """Make the galleries in a folder and serve them meanwhile."""
    _draw(folder / "images")
    zs.build_gallery(folder / "images", folder / "shapes", encoder)
    zs.make_map(folder / "shapes")
    three = folder / "three"
    three.mkdir()
    for number, name in enumerate(("fine.jpg", "missing.jpg", "damaged.jpg")):
        # Thumbnails are kept by content, so these images are in no other gallery.
        scenes.draw(scenes.single("pink heart", random.Random(f"{folder} {number}"))).save(three / name)
    zs.build_gallery([three / name for name in ("fine.jpg", "missing.jpg", "damaged.jpg")], folder / "worn", encoder)
    zs.build_gallery(three, folder / "none", encoder)
    zs.remove(folder / "none", where="id >= 0")
    (three / "missing.jpg").unlink()
    (three / "damaged.jpg").write_bytes(b"not an image any more")
    classes = zs.read_prompts([name for name in scenes.class_names() if "circle" in name or "star" in name])
    zs.build_prototypes(folder / "shapes-and-colours", classes, encoder)
    served = [folder / name for name in ("shapes", "worn", "none")]
    with serving(*served, "-p", folder / "shapes-and-colours") as address:
        yield Galleries(address, folder)


@dataclass(frozen=True)
class Studio:
    """A server that may be written to, of two galleries of the same labelled shapes: ``drafts`` is for writing,
    ``stars`` is only read and has an image three times and one twice. Prototypes ``plain`` and ``starred`` have their
    classes, ``odd`` has others.
    """

    address: str
    token: str
    folder: Path

    @property
    def stars(self) -> Path:
        return self.folder / "stars"

    @property
    def drafts(self) -> Path:
        return self.folder / "drafts"

    def prototypes(self, name: str) -> Path:
        return self.folder / name


@contextlib.contextmanager
def studio(folder: Path, encoder: Encoder) -> Iterator[Studio]:
    """Make the galleries in a folder and serve them meanwhile."""
    rng = random.Random(4)
    names = [f"{colour} {shape}" for colour in ("red", "yellow", "green") for shape in ("heart", "cross", "star")]
    for name in names:
        (folder / "images" / name).mkdir(parents=True)
        for number in range(5):
            # A part is harder to tell, so that there is something to evaluate.
            scenes.draw(scenes.single(name, rng)).crop((0, 0, 84, 84)).save(folder / "images" / name / f"{number}.png")
    for times, name in ((2, "red heart"), (1, "green star")):
        for copy in range(times):
            shutil.copy(folder / "images" / name / "3.png", folder / "images" / name / f"3 copy {copy}.png")
    for gallery in ("stars", "drafts"):
        zs.build_gallery(folder / "images", folder / gallery, encoder)
    for prototypes, template in (("plain", "{}"), ("starred", "{} star")):
        zs.build_prototypes(folder / prototypes, names, encoder, templates=[template])
    zs.build_prototypes(folder / "odd", ["a cat", "a dog"], encoder)
    token = "for-the-tests-of-the-page"
    (folder / "token").write_text(token, encoding="utf-8")
    words = [
        folder / "stars",
        folder / "drafts",
        *(word for one in ("plain", "starred", "odd") for word in ("-p", folder / one)),
    ]
    with serving(*words, "--write", "--token-file", folder / "token") as address:
        yield Studio(address, token, folder)
