"""Writing an index folder so that a reader sees the old index or the new one, never half of either.

Files go into fresh segment folders and never change afterwards; renaming ``manifest.json`` into place is the commit;
then whatever the new manifest does not name is deleted. The single writer holds a lock on the folder, which ends with
its process. A new index grows in a staging folder inside, an index of its own, so that an interrupted build can
continue while the old index stays in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from zsretrieve.domain.errors import IndexBusyError, IndexFolderError, IndexFormatError, OutputExistsError
from zsretrieve.domain.records import FileEntry, IndexKind, Manifest
from zsretrieve.store import files, moving
from zsretrieve.store import manifest as manifests
from zsretrieve.store.manifest import STAGING
from zsretrieve.system import atomic

SEGMENTS = "segments"
# What the nodes of a cluster encoded of a build, until its staging index takes that in.
UNITS = ".units"
_SEGMENT_NAME = re.compile(r"[0-9a-f]{12}")
_UNIT_NAME = re.compile(r"[0-9a-f]{32}\.unit|\..*")
_LOCK_S = 1.0
_BESIDE = (manifests.NAME, manifests.COPY, manifests.MAP, manifests.SEARCHES)
# What a process that died leaves of those that the writer of the folder writes, and of a map, begins like this.
_PARTS = (".manifest.", f".{manifests.SEARCHES}.")
_PARTS_OF_MAP = f".{manifests.MAP}."


class Writer:
    """The writer of an index folder. ``manifest`` is the current one; None as long as there is none."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.manifest = current(out)
        self._sealed: dict[str, FileEntry] = {}
        self._new: set[str] = set()

    @contextlib.contextmanager
    def new_segment(self) -> Iterator[Path]:
        """A fresh folder for the files that the block writes; afterwards they are synced, and do not change any more.

        It is deleted again unless a commit names it. Raises IndexFolderError if the system refuses to write.
        """
        segment = self.out / SEGMENTS / secrets.token_hex(6)
        self._new.add(segment.name)
        with files.writing_to(self.out):
            segment.mkdir(parents=True)
            yield segment
            atomic.sync_tree(segment)
            atomic.sync(segment.parent)
            for path in sorted(segment.iterdir()):
                self._sealed[path.relative_to(self.out).as_posix()] = files.entry_of(path)

    def commit(self, manifest: Manifest) -> Manifest:
        """Make a manifest the current one; its ``files`` become those of the segments and the index that it names."""
        known = {**(self.manifest.files if self.manifest else {}), **self._sealed}
        named = {path: entry for path, entry in known.items() if _segment_of(path) in _segments(manifest)}
        manifest = moving.followed(self.out, manifest)
        complete = replace(
            manifest,
            files=named,
            home=moving.home_of(self.out, manifest),
            generation=self.manifest.generation + 1 if self.manifest else 1,
            verified=now() if named.keys() <= self._sealed.keys() else manifest.verified,
        )
        manifests.check(complete)  # nothing is committed that no reader opens
        content = manifests.to_bytes(complete)
        with files.writing_to(self.out):
            atomic.write_file(self.out / manifests.NAME, content)
        self.manifest = complete
        self._sealed.clear()
        # Only `index repair` needs the copy. The commit stands without it.
        with contextlib.suppress(OSError):
            atomic.write_file(self.out / manifests.COPY, content)
        return complete

    def adopt(self, staging: Writer) -> Manifest:
        """Make a finished staging index the current one, then delete the staging folder."""
        assert staging.manifest is not None
        with files.writing_to(self.out):
            for name in sorted(_segments(staging.manifest)):
                atomic.link_folder(staging.out / SEGMENTS / name, self.out / SEGMENTS / name)
        self._sealed.update(staging.manifest.files)
        adopted = self.commit(replace(staging.manifest, building=None))
        self.clean()
        return adopted

    def clean(self) -> None:
        """Delete segments that the manifest does not name, and a staging index that was adopted.

        If the manifest is damaged, only what this writer made is deleted.
        """
        damaged = self.manifest is None and manifests.exists(self.out)
        keep = _segments(self.manifest) if self.manifest else set()
        with contextlib.suppress(OSError):
            for segment in (self.out / SEGMENTS).iterdir():
                ours = segment.name in self._new if damaged else _SEGMENT_NAME.fullmatch(segment.name)
                if ours and segment.name not in keep:
                    shutil.rmtree(segment, ignore_errors=True)
        for part in (part for begin in _PARTS for part in self.out.glob(f"{begin}*")):
            atomic.remove(part)
        build = staged(self.out)
        if build is not None and keep and _segments(build) <= keep:
            shutil.rmtree(self.out / STAGING, ignore_errors=True)
            shutil.rmtree(self.out / UNITS, ignore_errors=True)

    def renew_copy(self) -> None:
        """Write the copy of the manifest again if a death or a full disk left an older one."""
        if self.manifest is None:
            return
        content = manifests.to_bytes(self.manifest)
        copy = self.out / manifests.COPY
        with contextlib.suppress(OSError):
            if not copy.exists() or copy.read_bytes() != content:
                atomic.write_file(copy, content)

    def set_aside(self, manifest: Manifest) -> list[str]:
        """Rename the segments that a manifest from an older copy does not name, so that nothing deletes them.

        Returns
        -------
        list of str
            Their new names.
        """
        aside = []
        for segment in sorted((self.out / SEGMENTS).iterdir()):
            derived = all(path.suffix == ".faiss" for path in segment.iterdir())
            kept = segment.name in _segments(manifest) | self._new
            if _SEGMENT_NAME.fullmatch(segment.name) and not kept and not derived:
                aside.append(f"{segment.name}.aside")
                segment.rename(segment.with_name(aside[-1]))
        return aside


def check_output(out: Path, *, force: bool) -> None:
    """Raise OutputExistsError unless an index may be written to ``out``.

    With ``force`` an existing index is replaced. A folder that holds anything else is never touched, except for what a
    killed build left behind.
    """
    for above in out.absolute().parents:
        if manifests.is_index(above):
            raise OutputExistsError(f"'{out}' is inside the index at '{above}'", hint="Give a folder outside of it.")
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputExistsError(f"'{out}' exists and is not a folder", hint="Give another output folder.")
    if not manifests.is_index(out) and not _holds_only_ours(out):
        raise OutputExistsError(
            f"'{out}' exists and is not an index, so it is left alone", hint="Give another output folder."
        )
    if manifests.exists(out) and not force:
        manifest = current(out)
        if manifest is not None and manifest.kind is IndexKind.PROTOTYPES:
            hint = "Replace it with `force`, or give another output folder."
        else:
            hint = (
                f"Replace it with `force`; or change it: zsretrieve index add '{manifests.shown(out)}' SOURCE, "
                f"or index kind '{manifests.shown(out)}' KIND."
            )
        raise OutputExistsError(f"there is already an index at '{manifests.shown(out)}'", hint=hint)


@contextlib.contextmanager
def writing(out: Path) -> Iterator[Writer]:
    """The writer of an existing index. What is not committed when the block ends is deleted.

    Raises
    ------
    IndexFormatError
        If there is no sound manifest.
    IndexFolderError
        If it cannot be written, or another process is writing it.
    """
    manifests.read(out)
    with _locked(out):
        yield from _cleaned(Writer(out))


@contextlib.contextmanager
def repairing(out: Path) -> Iterator[Writer]:
    """The writer of an index whose manifest may be damaged; it deletes nothing. Raises IndexFolderError."""
    with _locked(out):
        yield Writer(out)


@contextlib.contextmanager
def creating(out: Path, *, force: bool = False) -> Iterator[Writer]:
    """The writer of a new index; if nothing is committed and nothing staged, nothing of it remains.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something that may not be replaced.
    IndexFolderError
        If it cannot be written, or another process is writing it.
    """
    check_output(out, force=force)
    new_folders = [path for path in (out, *out.parents) if not path.exists()]
    try:
        with files.writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            check_output(out, force=force)
            yield from _cleaned(Writer(out))
    finally:
        for folder in (out / SEGMENTS, *new_folders):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def staging(writer: Writer) -> Iterator[Writer]:
    """The writer of the staging index inside a folder; it stays when the block ends if anything was committed."""
    inner = Writer(writer.out / STAGING)
    if inner.out.exists() and not _holds_only_ours(inner.out):
        raise OutputExistsError(
            f"'{inner.out}' exists and is not an unfinished index, so it is left alone",
            hint="Move it away, or give another output folder.",
        )
    if inner.manifest is None:
        shutil.rmtree(inner.out, ignore_errors=True)  # the remains of a first commit
    with files.writing_to(writer.out):
        inner.out.mkdir(exist_ok=True)
    try:
        yield from _cleaned(inner)
    finally:
        if inner.manifest is None:
            shutil.rmtree(inner.out, ignore_errors=True)


def current(folder: Path) -> Manifest | None:
    """The manifest of an index, None unless it is sound."""
    try:
        return manifests.read(folder)
    except IndexFormatError:
        return None


def staged(out: Path) -> Manifest | None:
    """The manifest of an interrupted build inside a folder."""
    return current(out / STAGING)


def now() -> str:
    """The time in UTC to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cleaned(writer: Writer) -> Iterator[Writer]:
    writer.clean()
    writer.renew_copy()
    try:
        yield writer
    finally:
        # Read from the disk, since an interruption may come right after the rename that commits.
        writer.manifest = current(writer.out)
        writer.clean()


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock. A verification holds it for a moment to record its time, so this waits a moment."""
    until = time.monotonic() + _LOCK_S
    while True:
        with files.writing_to(out):
            handle = os.open(out, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A writer that leaves nothing removes the folder, so what was locked may not exist any more.
            if os.path.exists(out) and os.path.samestat(os.fstat(handle), os.stat(out)):
                break
        except BlockingIOError as error:
            if time.monotonic() > until:
                os.close(handle)
                raise IndexBusyError(
                    f"another process is writing the index at '{manifests.shown(out)}'",
                    hint="Wait for it, then run the command again.",
                ) from error
            time.sleep(0.02)
        except OSError as error:
            os.close(handle)
            raise IndexFolderError(
                f"the index at '{manifests.shown(out)}' cannot be locked, so it is not written: "
                f"{error.strerror or error}",
                hint="Its file system has no locks, or is mounted without them; use another one.",
            ) from error
        os.close(handle)
    try:
        yield
    finally:
        os.close(handle)


def _segment_of(path: str) -> str:
    return path.split("/")[1]


def _segments(manifest: Manifest) -> set[str]:
    """The names of all segment folders of a manifest."""
    approximate = () if manifest.approximate is None else manifest.approximate.files
    derived = {_segment_of(file) for file in (manifest.index, *approximate) if file is not None}
    return {segment.name for segment in manifest.segments} | derived


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
        elif entry.name == UNITS:
            if not all(_UNIT_NAME.fullmatch(unit.name) for unit in entry.iterdir()):
                return False
        elif entry.name not in _BESIDE and not entry.name.startswith((*_PARTS, _PARTS_OF_MAP)):
            return False
    # A damaged manifest is still ours beside segments; a lone manifest.json may be anybody's.
    return bool(segments) or not (out / manifests.NAME).exists()
