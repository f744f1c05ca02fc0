"""Writing an export beside its place and putting it there when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zsretrieve.errors import IndexFolderError, OutputExistsError
from zsretrieve.store import files


@dataclass(frozen=True)
class Kind:
    """What is made, a folder or a file; how one of its kind is told from what is not ours; and what it is called."""

    is_folder: bool
    is_ours: Callable[[Path], bool]
    name: str = "export"

    @property
    def one(self) -> str:
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


def check_output(out: Path, kind: Kind, *, force: bool) -> None:
    """Raise OutputExistsError unless an export may be written to ``out``, IndexFolderError if nothing could be.

    With ``force`` an export of the same kind is replaced. An empty folder is no obstacle to a folder; anything else
    is never touched.
    """
    _check_place(out, kind)
    if not os.path.lexists(out) or (kind.is_folder and out.is_dir() and not any(out.iterdir())):
        return
    if not kind.is_ours(out):
        raise OutputExistsError(
            f"'{out}' exists and is not {kind.one} of this form, so it is left alone", hint="Give another output."
        )
    if not force:
        raise OutputExistsError(f"there already is {kind.one} at '{out}'", hint="Replace it with --force.")


def _check_place(out: Path, kind: Kind) -> None:
    """Folders that are not there will be made; the first that is must be one to write in."""
    there = next((path for path in Path(os.path.realpath(out)).parents if os.path.lexists(path)), Path("/"))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return
    why = f"no permission to write in '{there}'" if there.is_dir() else f"'{there}' is no folder"
    raise IndexFolderError(f"the {kind.name} cannot be written to '{out}': {why}", hint="Give another path.")


@contextlib.contextmanager
def replacing(out: Path, kind: Kind, *, force: bool) -> Iterator[Path]:
    """A path beside ``out`` for the block to make a file or a folder at, which then takes the place of ``out``.

    If the block fails or is interrupted, nothing remains of it and ``out`` is as it was. A death of the process leaves
    ``.OUT.*.part`` beside ``out``; a folder is replaced by two renames, and a death between them leaves two of these,
    the old export and the new one, both complete, and no ``out``.

    Raises
    ------
    OutputExistsError
        See ``check_output``.
    IndexFolderError
        If the system refuses to write.
    """
    check_output(out, kind, force=force)
    place = Path(os.path.realpath(out))
    made_folders = [path for path in place.parents if not path.exists()]
    beside = _sibling(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        _sync(beside)
        check_output(out, kind, force=force)
        _put(beside, place)
    except OSError as error:
        raise IndexFolderError(
            f"the {kind.name} cannot be written to '{out}': {error.strerror or error}",
            hint="Check the free space and the permissions, then run the command again.",
        ) from error
    finally:
        _remove(beside)
        for folder in made_folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _put(made: Path, place: Path) -> None:
    if place.is_dir():
        old = _sibling(place)
        os.rename(place, old)
        try:
            os.rename(made, place)
        except BaseException:
            os.rename(old, place)
            raise
        _remove(old)
    else:
        os.replace(made, place)
    files.sync(place.parent)


def _sync(made: Path) -> None:
    for path in [*made.rglob("*"), made]:
        files.sync(path)


def _sibling(place: Path) -> Path:
    return place.with_name(f".{place.name}.{secrets.token_hex(6)}.part")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
