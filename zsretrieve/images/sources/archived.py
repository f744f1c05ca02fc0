"""Images in archives: tar, zip and Parquet files, saved data sets."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.images import opening
from zsretrieve.images.archives import MEMBER, Archive, Kind, is_url, kind_of, open_archive
from zsretrieve.images.archives.columns import NoImageColumnError
from zsretrieve.images.archives.hub import resolve
from zsretrieve.images.archives.members import can_be_written
from zsretrieve.images.sources import ground_truth as truths
from zsretrieve.images.sources.braces import in_braces
from zsretrieve.images.sources.source import ARCHIVE, Source, SourceFile

_log = logging.getLogger("zsretrieve")

_SCANS_AT_ONCE = 8
_OUTSIDE = "a table names files only, and on a server those below it"


def archived(names: Sequence[str], ground_truth: str | Path | None = None, root: str | None = None) -> Source:
    """The images in archives, in the order of the archives, and within each in its own order.

    A Parquet file that holds no images may name files, relative to its own folder. One of several archives that cannot
    be read is skipped.

    Parameters
    ----------
    names : sequence of str
        Paths or URLs of tar, zip or Parquet files.
    ground_truth : path, optional
        Labels for the images of one tar or zip file, in place of its own.
    root : str, optional
        A folder above all of them; by default the lowest.

    Raises
    ------
    SourceError
        If one of them is missing, all are unreadable, none holds an image, or the ground-truth file does not fit.
    """
    whole = [name if is_url(name) else _absolute(name) for name in names]
    for name in whole:
        if not is_url(name):
            _check(name)
    root = root if root is not None else _common_folder(whole)
    short = [name.removeprefix(root).lstrip("/") for name in whole]
    with ThreadPoolExecutor(_SCANS_AT_ONCE, thread_name_prefix="scan") as pool:
        opened = list(pool.map(_opened, whole))
    files: list[SourceFile] = []
    damaged: list[Skipped] = []
    for full, name, archive in zip(whole, short, opened, strict=True):
        if isinstance(archive, SourceError):
            # All of them, or the only one: there is nothing to go on with.
            if all(isinstance(one, SourceError) for one in opened):
                raise archive
            damaged.append(Skipped(name, f"{ARCHIVE}{archive.message}"))
        elif isinstance(archive, list):
            folder = full.rpartition("/")[0]
            for path, label in archive:
                if _leads_outside(folder, path):
                    damaged.append(Skipped(f"{name}: {path}", _OUTSIDE))
                else:
                    files.append(SourceFile(opening.relative(root, opening.join(folder, path)), label))
        else:
            _collect(f"{name}{MEMBER}", archive, files, damaged)
            damaged += _damage(name, archive)
    archives = [one for one in opened if not isinstance(one, SourceError | list)]
    for problem in dict.fromkeys(one.label_problem for one in archives if one.label_problem is not None):
        _log.warning(f"{shorten(names, 1)}: {problem}")
    if not files:
        raise SourceError(
            f"there are no images in {shorten(names, 1)}",
            hint="Looked for members named .jpg, .png, .webp and the like, or rows.",
        )
    if ground_truth is not None:
        members = [file.path.partition(MEMBER)[2] for file in files]
        labels = truths.labels(members, Path(ground_truth))
        files = [SourceFile(file.path, label) for file, label in zip(files, labels, strict=True)]
    where = whole[0] if len(whole) == 1 else in_braces(root, short)
    return Source(root, tuple(files), tuple(damaged), origin=where)


def takes_ground_truth(name: str) -> bool:
    """Whether a ground-truth file may give the labels of an archive, whose images must have names."""
    return kind_of(name) in (Kind.TAR, Kind.ZIP) and (is_url(name) or os.path.isfile(name))


def data_set(name: str) -> Source:
    """The images of a data set: ``hf:PATH_OR_NAME[@CONFIG][:SPLIT]``; a path is a folder written by ``save_to_disk``.

    Raises
    ------
    SourceError
        If it is not available, holds no images, or has several splits and none is named.
    OptionalDependencyError
        If ``datasets`` is not installed.
    """
    full = resolve(name)
    files: list[SourceFile] = []
    skipped: list[Skipped] = []
    opened = open_archive(full)
    _collect("", opened, files, skipped)
    if opened.label_problem is not None:
        _log.warning(f"'{full}': {opened.label_problem}")
    if not files:
        raise SourceError(f"there are no images in '{full}'", hint="It has no rows.")
    return Source(full, tuple(files), tuple(skipped), origin=full)


def _opened(name: str) -> Archive | list[tuple[str, str | None]] | SourceError:
    """An archive; or the files that it names, and their labels; or why it cannot be read."""
    try:
        return open_archive(name)
    except NoImageColumnError as error:
        from zsretrieve.images.archives.parquet import paths_in

        try:
            named = paths_in(name)
            return error if named is None else list(named)
        except SourceError as damage:
            return damage
    except SourceError as error:
        return error


def _leads_outside(folder: str, path: str) -> bool:
    """Whether a table in a folder or on a server makes this machine read what its giver chose."""
    below = not path.startswith("/") and ".." not in path.split("/")
    return "://" in path or (is_url(folder) and not below)


def _check(name: str) -> None:
    if not os.path.isfile(name):
        raise SourceError(f"there is no file '{name}'", hint="Check the path.")
    if os.path.isdir(f"{name}{MEMBER[0]}"):
        raise SourceError(
            f"there also is a folder '{name}!', and images in both would have the same address",
            hint="Rename one of them.",
        )


def _collect(prefix: str, archive: Archive, files: list[SourceFile], skipped: list[Skipped]) -> None:
    """Collect the images of an archive, without names and labels that an index cannot hold."""
    for member, label in archive.members():
        path = f"{prefix}{member}"
        if can_be_written(path):
            files.append(SourceFile(path, label if label is None or can_be_written(label) else None))
        else:
            shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
            skipped.append(Skipped(shown, f"{ARCHIVE}a member's name that is not text"))


def _damage(name: str, archive: Archive) -> list[Skipped]:
    reasons = [] if archive.damage is None else [archive.damage]
    if archive.repeated:
        reasons.append(f"{counted(archive.repeated, 'image')} of the same name as a later one, which counts")
    return [Skipped(name, f"{ARCHIVE}{'; '.join(reasons)}")] if reasons else []


def _absolute(name: str) -> str:
    """An absolute path; ``..`` stays, since after a link it leads elsewhere."""
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
        raise SourceError("these archives are in different places", hint="Give the archives of one place at a time.")
    return "/".join(folders[0][:shared]) or "/"
