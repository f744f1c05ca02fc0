"""Writing files and folders beside their place, then renaming: a reader sees the old one or the new one, never half."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zsretrieve.domain.errors import IndexFolderError, OutputExistsError, UsageError

PART = ".part"


def sync(path: Path) -> None:
    """Make the system write a file or folder to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Sync a file, or a folder with everything in it; not what links there lead to."""
    for below in [*path.rglob("*"), path]:
        if not below.is_symlink():
            sync(below)


def beside(place: Path) -> Path:
    """A fresh hidden name in the same folder, ``.NAME.*.part``."""
    return place.with_name(f".{place.name}.{secrets.token_hex(6)}{PART}")


def write_file(place: Path, content: bytes) -> None:
    """Write a file beside ``place``, sync it and rename it. Raises OSError, also where ``place`` is a folder."""
    part = beside(place)
    try:
        part.write_bytes(content)
        sync(part)
        os.replace(part, place)
        sync(place.parent)
    finally:
        remove(part)


def put(part: Path, place: Path) -> None:
    """Rename a finished file or folder to ``place`` in the same folder, replacing what is there.

    A folder is replaced by two renames: a death of the process between them leaves the old and the new folder, both
    complete, under the names of ``beside``.
    """
    if place.is_dir():
        old = beside(place)
        os.rename(place, old)
        try:
            os.rename(part, place)
        except BaseException:
            os.rename(old, place)
            raise
        remove(old)
    else:
        os.replace(part, place)
    sync(place.parent)


def remove(path: Path) -> None:
    """Delete a file or a folder as far as the system allows."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def link_folder(old: Path, new: Path) -> None:
    """Give the files of a folder a second name, without copying them where the file system can do that."""
    new.mkdir(parents=True, exist_ok=True)
    for path in sorted(old.iterdir()):
        twin = new / path.name
        twin.unlink(missing_ok=True)
        try:
            os.link(path, twin)
        except OSError:
            shutil.copyfile(path, twin)
            sync(twin)
    sync(new)
    sync(new.parent)


@dataclass(frozen=True)
class OutputKind:
    """A kind of output: a file or a folder, what recognises one that may be replaced, and its name in messages."""

    is_folder: bool
    is_ours: Callable[[Path], bool]
    name: str = "export"
    # What the hint says of one that is not recognised.
    unless: str = ""

    @property
    def one(self) -> str:
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


def check_apart(*outputs: str | os.PathLike[str] | None) -> None:
    """Raise UsageError if two outputs are one, or one is inside another: the last would overwrite the first."""
    places = [Path(one).resolve() for one in outputs if one is not None]
    for place, other in itertools.permutations(places, 2):
        if place == other or place in other.parents:
            raise UsageError(f"'{place}' is named for two outputs", hint="Give each a place of its own.")


def begins_with(file: Path, mark: bytes, within: int) -> bool:
    """Whether the first so many bytes of a file have a mark, by which an output is recognised."""
    try:
        with open(file, "rb") as handle:
            return mark in handle.read(within)
    except OSError:
        return False


def check_output(out: Path, kind: OutputKind, *, force: bool) -> None:
    """Raise OutputExistsError unless ``out`` is free, IndexFolderError if nothing could be written there.

    With ``force`` an output of the same kind may be replaced, and a folder may always take the place of an empty one.
    """
    # Folders that do not exist are created; the first one that exists must be writable.
    above = next((path for path in Path(os.path.realpath(out)).parents if os.path.lexists(path)), Path("/"))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = f"no permission to write in '{above}'" if above.is_dir() else f"'{above}' is not a folder"
        raise IndexFolderError(f"the {kind.name} cannot be written to '{out}': {why}", hint="Give another path.")
    if not os.path.lexists(out) or (kind.is_folder and out.is_dir() and not any(out.iterdir())):
        return
    if not kind.is_ours(out):
        raise OutputExistsError(
            f"'{out}' exists and is not {kind.one} of this form, so it is left alone",
            hint=f"Give another output{kind.unless}.",
        )
    if not force:
        raise OutputExistsError(f"there is already {kind.one} at '{out}'", hint="Replace it with `force`.")


@contextlib.contextmanager
def replacing(out: Path, kind: OutputKind, *, force: bool) -> Iterator[Path]:
    """A path beside ``out`` at which the block writes a file or folder, which then takes the place of ``out``.

    If the block fails or is interrupted, nothing of it remains and ``out`` is as it was; see ``put`` for a death of
    the process.

    Raises
    ------
    OutputExistsError
        See ``check_output``.
    IndexFolderError
        If the system refuses to write.
    """
    check_output(out, kind, force=force)
    place = Path(os.path.realpath(out))
    new_folders = [path for path in place.parents if not path.exists()]
    part = beside(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield part
        sync_tree(part)  # before the check: a sync may take long
        check_output(out, kind, force=force)
        put(part, place)
    except OSError as error:
        raise IndexFolderError(
            f"the {kind.name} cannot be written to '{out}': {error.strerror or error}",
            hint="Check the free space and the permissions, then run the command again.",
        ) from error
    finally:
        remove(part)
        for folder in new_folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
