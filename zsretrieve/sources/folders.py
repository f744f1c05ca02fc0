"""Folders of pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from zsretrieve.archives import Kind, kind_of
from zsretrieve.archives.columns import NoImageColumnError
from zsretrieve.archives.hub import is_saved
from zsretrieve.errors import SourceError
from zsretrieve.images import is_image_name
from zsretrieve.records import Skipped
from zsretrieve.sources import ground_truth as truths
from zsretrieve.sources.archived import archived
from zsretrieve.sources.listing import FOLDER, Source, SourceFile

_SPLIT = re.compile(r"(?:^|/)([^/]+)-\d{5}-of-\d{5}[^/]*\.parquet$", re.IGNORECASE)


def folder(root: str | Path, ground_truth: str | Path | None = None) -> Source:
    """All pictures below a folder, sorted by path; if it holds none, those of the Parquet files below it.

    The label of a picture is the name of the first folder below the root, as in an ImageFolder, or comes from the
    ground-truth file. Hidden files and folders, and files that are not named like pictures, are left out.

    Raises
    ------
    SourceError
        If the folder is missing or holds no picture, or the ground-truth file does not fit.
    """
    root = Path(root)
    if not root.exists():
        raise SourceError(f"there is no folder or file '{root}'", hint="Check the path.")
    if not root.is_dir():
        raise SourceError(f"'{root}' is not a folder", hint="Give a folder of images.")
    found, unread = _walk(root, is_image_name)
    # Behind a link `..` is not where it looks, so it is resolved; without it a link stays as it is written.
    where = str(root.resolve() if ".." in root.parts else root.absolute())
    if not found:
        return replace(_tables_in(root, ground_truth), where=where)
    if ground_truth is not None:
        labels = truths.labels(found, Path(ground_truth))
    else:
        labels = [p.split("/")[0] if "/" in p else None for p in found]
    files = tuple(SourceFile(path, label) for path, label in zip(found, labels, strict=True))
    return Source(where, files, unread, where=where)


def _tables_in(root: Path, ground_truth: str | Path | None) -> Source:
    """The Parquet files of a folder without pictures, as the Hugging Face hub lays out a data set."""
    tables, _ = _walk(root, lambda name: kind_of(name) is Kind.PARQUET)
    if not tables or ground_truth is not None:
        raise _no_images(root)
    splits = sorted({found[1] for table in tables if (found := _SPLIT.search(table))})
    if len(splits) > 1:
        raise SourceError(
            f"'{root}' holds the Parquet files of several splits: {', '.join(splits)}",
            hint="Give the files of one, as in 'data/train-{00000..00012}-of-00013.parquet'.",
        )
    try:
        return archived([os.path.join(root.absolute(), table) for table in tables], root=str(root.absolute()))
    except NoImageColumnError as error:
        raise _no_images(root, f": {error.message}") from error


def _no_images(root: Path, detail: str = "") -> SourceError:
    hint = "Looked for .jpg, .png, .webp and other picture files."
    if is_saved(root):
        hint = f"It was written by save_to_disk: give hf:{root}."
    elif not detail and any(kind_of(name) is not None for name in os.listdir(root)):
        hint = "Archives in it are given by name, several as 'train-{0000..0012}.tar'."
    return SourceError(f"there are no images in '{root}'{detail}", hint=hint)


def _walk(root: Path, wanted: Callable[[str], bool]) -> tuple[list[str], tuple[Skipped, ...]]:
    """Files below a folder, sorted, and the folders that could not be read. A folder is entered once, however
    many links lead to it, so loops end.
    """
    found: list[str] = []
    unread: list[Skipped] = []
    entered: set[tuple[int, int]] = set()

    def relative(path: str) -> str:
        return os.path.relpath(path, root).replace(os.sep, "/")

    def refused(error: OSError) -> None:
        unread.append(Skipped(relative(error.filename), f"{FOLDER}{(error.strerror or str(error)).lower()}"))

    for where, folders, names in os.walk(root, followlinks=True, onerror=refused):
        try:
            state = os.stat(where)
        except OSError as error:  # gone since it was listed
            refused(error)
            folders.clear()
            continue
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [relative(os.path.join(where, n)) for n in names if not n.startswith(".") and wanted(n)]
    return sorted(found, key=lambda p: p.split("/")), tuple(unread)
