"""Writing an index folder so that a reader sees the old index or the new one, never a half.

Files of a new index are written under fresh names beside the old ones; then ``manifest.json`` is replaced by a
rename, which is the commit; then what only the old passport named is deleted. One writer at a time holds a lock on
the folder itself, which goes with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from zsretrieve.errors import IndexFolderError, IndexFormatError, IntegrityError, OutputExistsError
from zsretrieve.records import FileEntry, Manifest
from zsretrieve.store import manifest as passport

# Above this the digests of the large files are left to `index verify`: opening must stay quick.
DIGEST_AT_OPEN_BYTES = 128 * 1024 * 1024
_SEGMENTS = "segments"
_SEGMENT_NAME = re.compile(r"[0-9a-f]{12}")
_BESIDE = f".{passport.NAME}."


class Draft:
    """A new index being written. ``segment`` is the folder for its files."""

    def __init__(self, out: Path, segment: Path) -> None:
        self._out = out
        self.segment = segment

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Write files into the segment; what the system refuses becomes an IndexFolderError."""
        with _written(self._out):
            yield self.segment

    def commit(self, manifest: Manifest) -> Manifest:
        """Digest and sync the files of the segment, then make the passport that names them the current one."""
        with _written(self._out):
            files = {}
            for path in sorted(self.segment.iterdir()):
                _sync(path)
                files[path.relative_to(self._out).as_posix()] = file_entry(path)
            _sync(self.segment)
            _sync(self.segment.parent)
            complete = replace(manifest, files=files)
            beside = self._out / f"{_BESIDE}{self.segment.name}"
            beside.write_bytes(passport.to_bytes(complete))
            _sync(beside)
            os.replace(beside, self._out / passport.NAME)
            _sync(self._out)
        return complete


def check_output(out: Path, *, force: bool) -> None:
    """Raise OutputExistsError unless an index may be written to ``out``.

    With ``force`` an existing index is replaced. A folder that holds anything else is never touched; what a killed
    build left behind is no obstacle.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputExistsError(f"'{out}' exists and is not a folder", hint="Give another output folder.")
    if not passport.is_index(out) and not _holds_only_ours(out):
        raise OutputExistsError(
            f"'{out}' exists and is not an index, so it is left alone", hint="Give another output folder."
        )
    if (out / passport.NAME).exists() and not force:
        raise OutputExistsError(f"there already is an index at '{out}'", hint="Replace it with --force.")


@contextlib.contextmanager
def draft(out: Path, *, force: bool = False) -> Iterator[Draft]:
    """Write a new index; if the block fails or is interrupted before the commit, nothing of it remains.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something and may not be replaced.
    IndexFolderError
        If it cannot be written, or another process is writing it.
    """
    check_output(out, force=force)
    made = _missing_parents(out)
    segment = out / _SEGMENTS / secrets.token_hex(6)
    try:
        with _written(out):
            out.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            check_output(out, force=force)
            try:
                with _written(out):
                    segment.mkdir(parents=True)
                yield Draft(out, segment)
            finally:
                # Whether the commit took place is read from the disk: an interruption may come right after it.
                committed = _is_named(out, segment)
                _delete_segments(out, keep=segment if committed else None, only=None if committed else segment)
    finally:
        for folder in (out / _SEGMENTS, *made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_files(folder: Path, manifest: Manifest, *, deep: bool = False) -> list[str]:
    """What is wrong with the files of an index; empty when all is well.

    Parameters
    ----------
    folder : Path
    manifest : Manifest
    deep : bool
        Digest every file however large; otherwise only indexes up to ``DIGEST_AT_OPEN_BYTES`` in all.
    """
    problems = []
    digest = deep or sum(entry.bytes for entry in manifest.files.values()) <= DIGEST_AT_OPEN_BYTES
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                problems.append(f"'{name}' has {size} bytes instead of {entry.bytes}")
            elif digest and file_entry(path).sha256 != entry.sha256:
                problems.append(f"'{name}' has changed: its digest does not match")
        except FileNotFoundError:
            problems.append(f"'{name}' is missing")
        except OSError as error:
            problems.append(f"'{name}' cannot be read: {error.strerror}")
    return problems


def refuse_damaged(folder: Path, manifest: Manifest) -> None:
    """Raise IntegrityError for the first problem that ``check_files`` finds."""
    problems = check_files(folder, manifest)
    if problems:
        raise IntegrityError(f"the index at '{folder}' is damaged: {problems[0]}", hint=passport.REBUILD)


def file_named(folder: Path, manifest: Manifest, name: str) -> Path:
    """The path of the file of an index with the given last name. Raises IndexFormatError if it has none."""
    for path in manifest.files:
        if path.rsplit("/", 1)[-1] == name:
            return folder / path
    raise IndexFormatError(f"the passport of '{folder}' names no {name}", hint="Build the index again.")


def file_entry(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    with open(path, "rb") as file:
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


@contextlib.contextmanager
def _written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IndexFolderError(
            f"the index cannot be written to '{out}': {error.strerror or error}",
            hint="Check the free space and the permissions, then run the command again.",
        ) from error


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IndexFolderError(
                f"another process is writing the index at '{out}'", hint="Wait for it, then run the command again."
            ) from error
        yield
    finally:
        os.close(handle)


def _holds_only_ours(out: Path) -> bool:
    segments: list[str] = []
    for entry in out.iterdir():
        if entry.name == _SEGMENTS and entry.is_dir():
            segments = [segment.name for segment in entry.iterdir()]
            if not all(_SEGMENT_NAME.fullmatch(name) for name in segments):
                return False
        elif entry.name != passport.NAME and not entry.name.startswith(_BESIDE):
            return False
    # A damaged passport is still ours where segments stand beside it; a lone manifest.json may be anybody's.
    return bool(segments) or not (out / passport.NAME).exists()


def _missing_parents(out: Path) -> list[Path]:
    return [p for p in (out, *out.parents) if not p.exists()]


def _is_named(out: Path, segment: Path) -> bool:
    try:
        return f'"{_SEGMENTS}/{segment.name}/'.encode() in (out / passport.NAME).read_bytes()
    except OSError:
        return False


def _delete_segments(out: Path, *, keep: Path | None, only: Path | None) -> None:
    with contextlib.suppress(OSError):
        for segment in (out / _SEGMENTS).iterdir():
            ours = _SEGMENT_NAME.fullmatch(segment.name) and segment != keep
            if ours and (only is None or segment == only):
                shutil.rmtree(segment, ignore_errors=True)
        for beside in out.glob(f"{_BESIDE}*"):
            beside.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
