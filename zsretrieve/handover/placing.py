"""Output folders for other programs, with images as links to where they are, or as copies. Originals stay untouched."""

from __future__ import annotations

import csv
import errno
import os
from collections import defaultdict
from pathlib import Path, PurePath

from zsretrieve.domain.errors import ImageError
from zsretrieve.handover.names import Names, file_name
from zsretrieve.images import opening
from zsretrieve.images.content import Content, is_image_name

# The list of the files in an output folder, by which it is recognised.
LISTING = "files.csv"
_COLUMNS = ("file", "source", "form", "bytes", "mtime_ns")
# Of a label file, whose name is that of its image but for this.
_LABELS = ".txt"
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
# Rows of data sets have no names that end like an image's.
_SUFFIXES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
}


class Placing:
    """Puts images into an output folder, which it makes, and lists all files there.

    Parameters
    ----------
    folder : Path
        It is written here.
    form : str
        What is written, for the list.
    copy : bool
        Copy files instead of linking to them. What is in an archive or behind a URL is always copied.
    one_per_stem : bool
        No two images of a folder differ in the suffix alone.
    """

    def __init__(self, folder: Path, form: str, *, copy: bool = False, one_per_stem: bool = False) -> None:
        self._folder = folder
        self._form = form
        self._copy = copy
        self._one_per_stem = one_per_stem
        self._names: defaultdict[str, Names] = defaultdict(Names)
        self._files: list[tuple[str, str]] = []
        folder.mkdir()

    def put(self, address: str, below: str) -> str:
        """Put an image into a folder below, and return its name there.

        Raises
        ------
        ImageError
            If it cannot be read; the message is the reason alone.
        OSError
            If the system refuses to write.
        """
        name = file_name(address)
        stem, suffix = os.path.splitext(name)
        links = not self._copy and is_file(address)
        content: Content | None = None
        if not links or not is_image_name(name):
            content = opening.read(address)
            suffix = suffix if is_image_name(name) else f"{suffix}{_suffix_of(content)}"
        elif not os.path.isfile(address):
            raise ImageError("no such file")
        names = self._names[below]
        if self._one_per_stem:
            # The name as it will be, whose own stem may be longer.
            stem, suffix = os.path.splitext(f"{stem}{suffix}")
            name = f"{names.take(stem, room=max(len(os.fsencode(suffix)), len(_LABELS)))}{suffix}"
        else:
            name = names.take(stem, suffix)
        target = self._folder / below / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not links or not _link(address, target):
            content = content or opening.read(address)
            target.write_bytes(content.data)
            if content.mtime_ns:
                os.utime(target, ns=(content.mtime_ns, content.mtime_ns))
        self._files.append((f"{below}/{name}", address))
        return name

    def write(self, place: str, text: str) -> None:
        """Write a file other than an image."""
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="surrogateescape")
        self._files.append((place, ""))

    def finish(self) -> None:
        """Write the list of the files."""
        with open(self._folder / LISTING, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(
                (place, source, self._form, *_state(self._folder / place)) for place, source in self._files
            )


def is_file(address: str) -> bool:
    """Whether an image is a file of its own on this machine, neither in an archive nor behind a URL."""
    return opening.split(address) is None and not opening.is_url(address)


def is_ours(folder: Path, form: str) -> bool:
    """Whether a folder holds what its list says, as it was written in this form, and nothing else."""
    try:
        with open(folder / LISTING, newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = csv.reader(file)
        if header != list(_COLUMNS) or any(row[2] != form for row in rows):
            return False
        files = {row[0] for row in rows}
        above = {str(parent) for place in files for parent in PurePath(place).parents}
        found = {
            os.path.relpath(f"{where}/{name}", folder)
            for where, below, names in os.walk(folder)
            for name in (*below, *names)
        }
        if found != {LISTING, *files, *(above - {"."})}:
            return False
        return all(tuple(row[3:]) == _state(folder / row[0]) for row in rows)
    except (OSError, ValueError, IndexError, csv.Error):
        return False


def _state(place: Path) -> tuple[str, str]:
    """The size and the time of a file, by which a changed one is recognised; empty for a link, which holds nothing."""
    if place.is_symlink():
        return "", ""
    known = place.stat()
    return str(known.st_size), str(known.st_mtime_ns)


def _link(address: str, target: Path) -> bool:
    """Make a symbolic link; False where the file system has none."""
    try:
        # Not normalised: if `x` is a link, `x/..` leads elsewhere.
        target.symlink_to(os.path.join(os.getcwd(), address))
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _suffix_of(content: Content) -> str:
    return next((suffix for magic, suffix in _SUFFIXES.items() if content.data.startswith(magic)), "")
