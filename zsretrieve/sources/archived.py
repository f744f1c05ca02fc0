"""Pictures in archives: tar and zip files, Parquet files, saved data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zsretrieve.archives import MEMBER, Archive, Kind, is_url, kind_of, open_archive
from zsretrieve.archives.hub import resolve
from zsretrieve.archives.names import can_be_written
from zsretrieve.errors import SourceError
from zsretrieve.records import Skipped
from zsretrieve.sources import ground_truth as truths
from zsretrieve.sources.listing import ARCHIVE, Source, SourceFile
from zsretrieve.sources.names import in_braces

_SCANS_AT_ONCE = 8


def archived(names: Sequence[str], ground_truth: str | Path | None = None, root: str | None = None) -> Source:
    """The pictures in archives, one archive after another in the order given, those of each in its own order.

    Parameters
    ----------
    names : sequence of str
        Paths or URLs of tar, zip or Parquet files.
    ground_truth : path, optional
        Labels for the pictures of one tar or zip file, in place of its own.
    root : str, optional
        A folder above them all; the lowest such by default.

    Raises
    ------
    SourceError
        If one of them is missing or no archive, none holds a picture, or the ground-truth file does not fit.
    """
    whole = [name if is_url(name) else _absolute(name) for name in names]
    for name in whole:
        if not is_url(name):
            _check(name)
    root = root if root is not None else _common_folder(whole)
    short = [name.removeprefix(root).lstrip("/") for name in whole]
    with ThreadPoolExecutor(_SCANS_AT_ONCE, thread_name_prefix="scan") as pool:
        opened = list(pool.map(open_archive, whole))
    files: list[SourceFile] = []
    damaged: list[Skipped] = []
    for name, archive in zip(short, opened, strict=True):
        _collect(f"{name}{MEMBER}", archive, files, damaged)
        damaged += _damage(name, archive)
    if not files:
        raise SourceError(
            f"there are no images in '{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
            hint="Looked for members named .jpg, .png, .webp and the like, or rows.",
        )
    if ground_truth is not None:
        members = [file.path.partition(MEMBER)[2] for file in files]
        labels = truths.labels(members, Path(ground_truth))
        files = [SourceFile(file.path, label) for file, label in zip(files, labels, strict=True)]
    where = whole[0] if len(whole) == 1 else in_braces(root, short)
    return Source(root, tuple(files), tuple(damaged), where=where)


def takes_ground_truth(name: str) -> bool:
    """Whether a ground-truth file may give the labels of an archive: its pictures must have names."""
    return kind_of(name) in (Kind.TAR, Kind.ZIP) and (is_url(name) or os.path.isfile(name))


def data_set(name: str) -> Source:
    """The pictures of a data set: ``hf:PATH_OR_NAME[@CONFIG][:SPLIT]``; a path is of a folder by ``save_to_disk``.

    Raises
    ------
    SourceError
        If it cannot be had, holds no pictures, or has several splits and none is named.
    OptionalDependencyError
        If ``datasets`` is not installed.
    """
    full = resolve(name)
    files: list[SourceFile] = []
    skipped: list[Skipped] = []
    _collect("", open_archive(full), files, skipped)
    if not files:
        raise SourceError(f"there are no images in '{full}'", hint="It has no rows.")
    return Source(full, tuple(files), tuple(skipped), where=full)


def _check(name: str) -> None:
    if not os.path.isfile(name):
        raise SourceError(f"there is no file '{name}'", hint="Check the path.")
    if os.path.isdir(f"{name}{MEMBER[0]}"):
        raise SourceError(
            f"beside '{name}' lies a folder of the same name and '!', and pictures in both would have one address",
            hint="Rename one of them.",
        )


def _collect(prefix: str, archive: Archive, files: list[SourceFile], skipped: list[Skipped]) -> None:
    """The pictures of an archive; none has a name or a label that an index could not hold, whatever is in it."""
    for member, label in archive.members():
        path = f"{prefix}{member}"
        if can_be_written(path):
            files.append(SourceFile(path, label if label is None or can_be_written(label) else None))
        else:
            shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
            skipped.append(Skipped(shown, f"{ARCHIVE}a member's name that is no text"))


def _damage(name: str, archive: Archive) -> list[Skipped]:
    return [Skipped(name, f"{ARCHIVE}{archive.damage}")] if archive.damage is not None else []


def _absolute(name: str) -> str:
    """An absolute path; ``..`` stays, since behind a link it is not where it started."""
    path = os.path.join(os.getcwd(), name)
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _common_folder(names: Sequence[str]) -> str:
    """The lowest folder that holds all of them."""
    remote = [is_url(name) for name in names]
    folders = [name.partition("?")[0].rpartition("/")[0].split("/") for name in names]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    if any(remote) and (not all(remote) or shared < len(("scheme:", "", "host"))):
        raise SourceError(
            "archives of different places were given at once", hint="Give those of one place, and the others apart."
        )
    return "/".join(folders[0][:shared]) or "/"
