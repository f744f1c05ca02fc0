"""A small gallery of shapes with prototypes of their classes, and a server of both."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import zsretrieve as zs
from kits.web import running
from zsretrieve.demo import scenes

CLASSES = tuple(f"{colour} {shape}" for colour in ("red", "blue") for shape in ("circle", "star", "cross"))


@dataclass(frozen=True)
class Small:
    """``shapes`` holds 24 labelled images and a copy of one; beside them is an image that EXIF turns."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Small:
        """Drawn and indexed in an empty folder."""
        rng = random.Random(4)
        small = cls(folder)
        for number in range(24):
            path = small.images / CLASSES[number % 6] / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            scenes.draw(scenes.single(CLASSES[number % 6], rng)).save(path)
        copy = small.images / "red star" / "copy.jpg"
        copy.write_bytes((copy.parent / "01.jpg").read_bytes())
        exif = Image.Exif()
        exif[0x0112] = 6
        scenes.draw(scenes.single("red star", rng)).crop((0, 0, 120, 60)).save(small.turned, exif=exif)
        zs.build_gallery(small.images, small.shapes, "demo")
        zs.build_prototypes(small.prototypes, CLASSES, "demo", templates=["a photo of a {}.", "a {}"])
        return small

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def turned(self) -> Path:
        return self.folder / "turned.jpg"

    @property
    def shapes(self) -> Path:
        return self.folder / "shapes"

    @property
    def prototypes(self) -> Path:
        return self.folder / "prototypes"


@dataclass(frozen=True)
class Served(Small):
    """The same, served at ``address``, which holds the token if there is one."""

    address: str


@contextlib.contextmanager
def serving(small: Small, *options: str) -> Iterator[Served]:
    """A server of it in a process of its own."""
    with running(small.shapes, "-p", small.prototypes, *options) as server:
        yield Served(small.folder, server.address)
