"""Names of files and folders that other programs get."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from pathlib import PurePosixPath

from zsretrieve.domain.annotations import Annotations
from zsretrieve.images import opening
from zsretrieve.images.addresses import bare

_LONGEST = 255  # bytes, on nearly every file system
# What FAT and NTFS refuse, and what cannot be seen.
_UNSUITABLE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\<>:"|?*]')


class Names:
    """Names in one folder, each taken once: also on file systems that ignore case or the form of accents."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: Counter[str] = Counter()

    def take(self, stem: str, suffix: str = "", *, room: int = 0) -> str:
        """The name itself if it is free, or else with the next number: ``x.jpg``, ``x-2.jpg``. It leaves ``room`` for
        so many more bytes.
        """
        start = _key(f"{stem}{suffix}")
        while True:
            self._last[start] += 1
            number = self._last[start]
            end = suffix if number == 1 else f"-{number}{suffix}"
            name = f"{_cut(stem, _LONGEST - room - len(os.fsencode(end)))}{end}"
            if _key(name) not in self._taken:
                self._taken.add(_key(name))
                return name


def folder_name(class_name: str) -> str:
    """A class as the name of a folder: without what a file system refuses, and never hidden."""
    text = _UNSUITABLE.sub("_", class_name.encode(errors="replace").decode())
    return text.strip(". ") or "_"


def file_name(address: str) -> str:
    """The name of an image's own file."""
    name = PurePosixPath(bare(address)).name.replace("\0", "_")
    return name if name not in ("", "..") else "image"


def names_of(annotations: Annotations) -> list[str]:
    """What other programs call the images: their paths in the only archive, or below the root of the source."""
    paths = [image.path for image in annotations.images]
    parts = [opening.split(path) for path in paths]
    members = [member for _, member in filter(None, parts)]
    if len(members) == len(paths) and len({archive for archive, _ in filter(None, parts)}) == 1:
        return members
    return [opening.relative(annotations.root, path) if annotations.root else path for path in paths]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _cut(stem: str, most: int) -> str:
    data = os.fsencode(stem)
    return stem if len(data) <= most else data[:most].decode(errors="ignore")
