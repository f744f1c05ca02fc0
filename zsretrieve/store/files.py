"""Files of an index: digests, and checks against the manifest."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from zsretrieve.domain.errors import IndexFolderError, IntegrityError
from zsretrieve.domain.records import Damage, FileEntry, Manifest
from zsretrieve.store import manifest as manifests

# sha256 reads 0.5 to 2 GB/s: up to this size, opening an index checks every digest in a quarter of a second. Beyond it,
# only the heads of vectors and FAISS files are checked, and the rest is left to `index verify`.
DIGEST_AT_OPEN_BYTES = 128 * 1024 * 1024
HEAD_BYTES = 4096
_ONLY_FOR_REPAIR = "items.copy.parquet"
_ALWAYS_WHOLE = ("items.parquet", "removed.npy", "drawn.npy", "values.npy", "prompts.json")


def entry_of(path: Path) -> FileEntry:
    """Size and digests of a file."""
    with open(path, "rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        file.seek(0)
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size, head)


def check(folder: Path, manifest: Manifest, *, deep: bool = False) -> list[Damage]:
    """Problems of the files that a manifest names; empty if they are sound.

    Parameters
    ----------
    folder : Path
    manifest : Manifest
    deep : bool
        Digest every file whatever its size. Otherwise only size and head of the vector files are checked in an index
        above ``DIGEST_AT_OPEN_BYTES``.
    """
    damages = []
    small = sum(entry.bytes for entry in manifest.files.values()) <= DIGEST_AT_OPEN_BYTES
    for name, entry in manifest.files.items():
        path = folder / name
        if path.name == _ONLY_FOR_REPAIR and not deep:
            continue
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                damages.append(Damage(name, f"'{name}' has {size} bytes instead of {entry.bytes}"))
            elif not _matches(path, entry, whole=deep or small or path.name in _ALWAYS_WHOLE):
                damages.append(Damage(name, f"'{name}' has changed: its digest does not match"))
        except FileNotFoundError:
            damages.append(Damage(name, f"'{name}' is missing"))
        except OSError as error:
            damages.append(Damage(name, f"'{name}' cannot be read: {error.strerror}"))
    return damages


def refuse_damaged(folder: Path, manifest: Manifest) -> None:
    """Raise IntegrityError for the first problem that ``check`` finds."""
    damages = check(folder, manifest)
    if damages:
        raise damaged(folder, damages[0].message)


def damaged(folder: Path, what: str) -> IntegrityError:
    """The error for an index that is not sound."""
    return IntegrityError(
        f"the index '{manifests.shown(folder)}' is damaged: {what}", hint=manifests.repair_hint(folder)
    )


@contextlib.contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turn an OSError while an index is written into an IndexFolderError."""
    try:
        yield
    except OSError as error:
        raise IndexFolderError(
            f"the index cannot be written to '{manifests.shown(out)}': {error.strerror or error}",
            hint="Check the free space and the permissions, then run the command again.",
        ) from error


def _matches(path: Path, entry: FileEntry, *, whole: bool) -> bool:
    if whole:
        return entry_of(path) == entry
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(HEAD_BYTES)).hexdigest() == entry.head
