"""Writing an index folder so that a reader sees the old index or the new one, never a half.

Files are written into fresh segment folders beside the old ones and never change afterwards; then ``manifest.json``
is replaced by a rename, which is the commit; then what the new passport does not name is deleted. One writer at a
time holds a lock on the folder itself, which goes with its process. A new index grows in a staging folder inside,
an index of its own, until it is complete; so an interrupted build can go on, and the old index stands meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from zsretrieve.errors import IndexFolderError, IndexFormatError, OutputExistsError
from zsretrieve.records import FileEntry, IndexKind, Manifest
from zsretrieve.store import files
from zsretrieve.store import manifest as passport
from zsretrieve.store.manifest import STAGING

SEGMENTS = "segments"
_SEGMENT_NAME = re.compile(r"[0-9a-f]{12}")
_LOCK_S = 1.0
_BESIDE = f".{passport.NAME}."


class Writer:
    """The one writer of an index folder. ``manifest`` is its passport as it stands; None while there is none."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.manifest = _sound_passport(out)
        self._sealed: dict[str, dict[str, FileEntry]] = {}
        self._made: set[str] = set()

    def new_segment(self) -> Path:
        """A fresh folder for files. It is deleted again unless a commit names it."""
        path = self.out / SEGMENTS / secrets.token_hex(6)
        self._made.add(path.name)
        with files.written(self.out):
            path.mkdir(parents=True)
        return path

    def seal(self, segment: Path) -> None:
        """Digest and sync the files of a segment; from now on they do not change."""
        with files.written(self.out):
            entries = {}
            for path in sorted(segment.iterdir()):
                files.sync(path)
                entries[path.relative_to(self.out).as_posix()] = files.entry_of(path)
            files.sync(segment)
            files.sync(segment.parent)
        self._sealed[segment.name] = entries

    def commit(self, manifest: Manifest) -> Manifest:
        """Make a passport the current one; its ``files`` are those of the segments and the index that it names."""
        known = {**(self.manifest.files if self.manifest else {}), **_joined(self._sealed.values())}
        names = _folders_named(manifest)
        complete = replace(
            manifest,
            files={path: entry for path, entry in known.items() if path.split("/")[1] in names},
            generation=self.manifest.generation + 1 if self.manifest else 1,
            verified=now() if names <= self._sealed.keys() else manifest.verified,
        )
        with files.written(self.out):
            content = passport.to_bytes(complete)
            self._replace(passport.NAME, content)
        self.manifest = complete
        self._sealed.clear()
        # Should the passport ever be damaged, `index repair` finds it here. The commit stands without it.
        with contextlib.suppress(OSError):
            self._replace(passport.COPY, content)
        return complete

    def adopt(self, staging: Writer) -> Manifest:
        """Make a finished staging index the current one, then delete the staging folder."""
        assert staging.manifest is not None
        with files.written(self.out):
            for name in sorted(_folders_named(staging.manifest)):
                files.link_folder(staging.out / SEGMENTS / name, self.out / SEGMENTS / name)
                self._sealed[name] = {
                    path: entry for path, entry in staging.manifest.files.items() if path.split("/")[1] == name
                }
        adopted = self.commit(replace(staging.manifest, building=None))
        self.clean()
        return adopted

    def clean(self) -> None:
        """Delete the segments that the passport does not name, and a staging index that was adopted. Beside a damaged
        passport only what this writer made is deleted.
        """
        damaged = self.manifest is None and passport.is_there(self.out)
        keep = _named_by(self)
        with contextlib.suppress(OSError):
            for segment in (self.out / SEGMENTS).iterdir():
                ours = segment.name in self._made if damaged else _SEGMENT_NAME.fullmatch(segment.name)
                if ours and segment.name not in keep:
                    shutil.rmtree(segment, ignore_errors=True)
        with contextlib.suppress(OSError):
            for beside in self.out.glob(f"{_BESIDE}*"):
                beside.unlink()
        begun = staged(self.out)
        if begun is not None and keep and _folders_named(begun) <= keep:
            shutil.rmtree(self.out / STAGING, ignore_errors=True)

    def renew_copy(self) -> None:
        """Write the copy of the passport again if a death or a full disk left an older one."""
        if self.manifest is None:
            return
        content = passport.to_bytes(self.manifest)
        with contextlib.suppress(OSError):
            if not (self.out / passport.COPY).exists() or (self.out / passport.COPY).read_bytes() != content:
                self._replace(passport.COPY, content)

    def set_aside(self, manifest: Manifest) -> list[str]:
        """Rename the segments that a passport from an older copy does not name, so that nothing deletes them; their new
        names.
        """
        names = _folders_named(manifest)
        aside = []
        for segment in sorted((self.out / SEGMENTS).iterdir()):
            derived = all(path.name == "index.faiss" for path in segment.iterdir())
            if _SEGMENT_NAME.fullmatch(segment.name) and segment.name not in names | self._made and not derived:
                aside.append(f"{segment.name}.aside")
                segment.rename(segment.with_name(aside[-1]))
        return aside

    def _replace(self, name: str, content: bytes) -> None:
        beside = self.out / f"{_BESIDE}{secrets.token_hex(6)}"
        beside.write_bytes(content)
        files.sync(beside)
        os.replace(beside, self.out / name)
        files.sync(self.out)


def check_output(out: Path, *, force: bool) -> None:
    """Raise OutputExistsError unless an index may be written to ``out``.

    With ``force`` an existing index is replaced. A folder that holds anything else is never touched; what a killed
    build left behind is no obstacle.
    """
    for above in out.absolute().parents:
        if passport.is_index(above):
            raise OutputExistsError(f"'{out}' lies inside the index at '{above}'", hint="Give a folder outside of it.")
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputExistsError(f"'{out}' exists and is not a folder", hint="Give another output folder.")
    if not passport.is_index(out) and not _holds_only_ours(out):
        raise OutputExistsError(
            f"'{out}' exists and is not an index, so it is left alone", hint="Give another output folder."
        )
    if passport.is_there(out) and not force:
        raise OutputExistsError(f"there already is an index at '{out}'", hint=_instead(out))


def _instead(out: Path) -> str:
    """What to do where an index is already; only galleries take in what is new."""
    try:
        if passport.read(out).kind is IndexKind.PROTOTYPES:
            return "Replace it with --force, or give another output folder."
    except IndexFolderError:
        pass  # a damaged one may be either
    return f"Take in what is new with: zsretrieve index sync '{out}'; or replace it with --force."


@contextlib.contextmanager
def writing(out: Path) -> Iterator[Writer]:
    """The writer of an index that is there. What is not committed when the block ends is deleted.

    Raises
    ------
    IndexFormatError
        If there is no sound passport.
    IndexFolderError
        If it cannot be written, or another process is writing it.
    """
    passport.read(out)
    with _locked(out):
        yield from _cleaned(Writer(out))


@contextlib.contextmanager
def repairing(out: Path) -> Iterator[Writer]:
    """The writer of an index whose passport may be damaged. Raises IndexFolderError as ``writing`` does."""
    with _locked(out):
        # Nothing is deleted before it is known what can be saved.
        yield Writer(out)


@contextlib.contextmanager
def creating(out: Path, *, force: bool = False) -> Iterator[Writer]:
    """The writer of a new index; if nothing is committed and nothing staged, nothing of it remains.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something and may not be replaced.
    IndexFolderError
        If it cannot be written, or another process is writing it.
    """
    check_output(out, force=force)
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        with files.written(out):
            out.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            check_output(out, force=force)
            yield from _cleaned(Writer(out))
    finally:
        for folder in (out / SEGMENTS, *made):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def staging(writer: Writer) -> Iterator[Writer]:
    """The writer of the staging index inside a folder; it stays when the block ends if anything was committed."""
    inner = Writer(writer.out / STAGING)
    if inner.out.exists() and not _holds_only_ours(inner.out):
        raise OutputExistsError(
            f"'{inner.out}' exists and is not the beginning of an index, so it is left alone",
            hint="Move it away, or give another output folder.",
        )
    if inner.manifest is None:
        shutil.rmtree(inner.out, ignore_errors=True)  # a half of a first commit
    with files.written(writer.out):
        inner.out.mkdir(exist_ok=True)
    try:
        yield from _cleaned(inner)
    finally:
        if inner.manifest is None:
            shutil.rmtree(inner.out, ignore_errors=True)


def staged(out: Path) -> Manifest | None:
    """The passport of an interrupted build inside a folder."""
    return _sound_passport(out / STAGING)


def now() -> str:
    """The time in UTC to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cleaned(writer: Writer) -> Iterator[Writer]:
    writer.clean()
    writer.renew_copy()
    try:
        yield writer
    finally:
        # What was committed is read from the disk: an interruption may come right after the rename.
        writer.manifest = _sound_passport(writer.out)
        writer.clean()


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock. A verification holds it for a moment to note its time, so some moments are waited for it."""
    until = time.monotonic() + _LOCK_S
    while True:
        with files.written(out):
            handle = os.open(out, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A writer that leaves nothing removes the folder: what was locked may not be there any more.
            if os.path.exists(out) and os.path.samestat(os.fstat(handle), os.stat(out)):
                break
        except BlockingIOError as error:
            if time.monotonic() > until:
                os.close(handle)
                raise IndexFolderError(
                    f"another process is writing the index at '{out}'",
                    hint="Wait for it, then run the command again.",
                ) from error
            time.sleep(0.02)
        except OSError as error:
            os.close(handle)
            raise IndexFolderError(
                f"the index at '{out}' cannot be locked, so it is not written: {error.strerror or error}",
                hint="Its file system knows no locks, or is mounted without them; write it on another one.",
            ) from error
        os.close(handle)
    try:
        yield
    finally:
        os.close(handle)


def _sound_passport(folder: Path) -> Manifest | None:
    try:
        return passport.read(folder)
    except IndexFormatError:
        return None


def _folders_named(manifest: Manifest) -> set[str]:
    named = {segment.name for segment in manifest.segments}
    return named | {manifest.index.split("/")[1]} if manifest.index else named


def _named_by(writer: Writer) -> set[str]:
    return _folders_named(writer.manifest) if writer.manifest else set()


def _joined(parts: Iterable[dict[str, FileEntry]]) -> dict[str, FileEntry]:
    return {path: entry for part in parts for path, entry in part.items()}


def _holds_only_ours(out: Path) -> bool:
    segments: list[str] = []
    if not out.is_dir():
        return False
    for entry in out.iterdir():
        if entry.name == SEGMENTS and entry.is_dir():
            segments = [segment.name for segment in entry.iterdir()]
            if not all(_SEGMENT_NAME.fullmatch(name) for name in segments):
                return False
        elif entry.name == STAGING:
            if not _holds_only_ours(entry):
                return False
        elif entry.name not in (passport.NAME, passport.COPY) and not entry.name.startswith(_BESIDE):
            return False
    # A damaged passport is still ours where segments stand beside it; a lone manifest.json may be anybody's.
    return bool(segments) or not (out / passport.NAME).exists()
