"""Files of an index: digested, synced to the disk, checked against the passport."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from zsretrieve.errors import IndexFolderError, IntegrityError
from zsretrieve.records import Damage, FileEntry, Manifest

# sha256 reads at 0.5 to 2 GB/s: up to here every digest is checked in a quarter of a second when an index is opened.
# Beyond, the vectors and the FAISS file are left to `index verify`, but for their heads.
DIGEST_AT_OPEN_BYTES = 128 * 1024 * 1024
HEAD_BYTES = 4096
# These are checked in full however large the index is.
_ONLY_FOR_REPAIR = "items.copy.parquet"
_ALWAYS = ("items.parquet", "removed.npy", "drawn.npy", "prompts.json")


def entry_of(path: Path) -> FileEntry:
    """Size and digests of a file."""
    with open(path, "rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        file.seek(0)
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size, head)


def check(folder: Path, manifest: Manifest, *, deep: bool = False) -> list[Damage]:
    """What is wrong with the files that a passport names; empty when all is well.

    Parameters
    ----------
    folder : Path
    manifest : Manifest
    deep : bool
        Digest every file however large. Otherwise the files of vectors in an index above ``DIGEST_AT_OPEN_BYTES``
        are checked by size and head alone.
    """
    found = []
    small = sum(entry.bytes for entry in manifest.files.values()) <= DIGEST_AT_OPEN_BYTES
    for name, entry in manifest.files.items():
        path = folder / name
        if path.name == _ONLY_FOR_REPAIR and not deep:
            continue
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                found.append(Damage(name, f"'{name}' has {size} bytes instead of {entry.bytes}"))
            elif not _matches(path, entry, whole=deep or small or path.name in _ALWAYS):
                found.append(Damage(name, f"'{name}' has changed: its digest does not match"))
        except FileNotFoundError:
            found.append(Damage(name, f"'{name}' is missing"))
        except OSError as error:
            found.append(Damage(name, f"'{name}' cannot be read: {error.strerror}"))
    return found


def refuse_damaged(folder: Path, manifest: Manifest) -> None:
    """Raise IntegrityError for the first damage that ``check`` finds."""
    found = check(folder, manifest)
    if found:
        raise IntegrityError(
            f"the index at '{folder}' is damaged: {found[0].message}",
            hint=f"See what can be saved with: zsretrieve index repair '{folder}'",
        )


@contextlib.contextmanager
def written(out: Path) -> Iterator[None]:
    """What the system refuses while an index is written becomes an IndexFolderError."""
    try:
        yield
    except OSError as error:
        raise IndexFolderError(
            f"the index cannot be written to '{out}': {error.strerror or error}",
            hint="Check the free space and the permissions, then run the command again.",
        ) from error


def sync(path: Path) -> None:
    """Make the system write a file or folder to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_folder(old: Path, new: Path) -> None:
    """The files of a folder under a second name, without copying them where the file system can do that."""
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


def _matches(path: Path, entry: FileEntry, *, whole: bool) -> bool:
    if whole:
        return entry_of(path) == entry
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(HEAD_BYTES)).hexdigest() == entry.head
