"""Folders of images."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.settings import Choice
from zsretrieve.domain.wording import shorten
from zsretrieve.images.archives import Kind, kind_of
from zsretrieve.images.archives.columns import NoImageColumnError
from zsretrieve.images.archives.hub import is_saved
from zsretrieve.images.sources import ground_truth as truths
from zsretrieve.images.sources.archived import archived
from zsretrieve.images.sources.source import LeftOut, Source, SourceFile
from zsretrieve.images.sources.walking import walk

_SPLIT = re.compile(r"(?:^|/)([^/]+)-\d{5}-of-\d{5}[^/]*\.parquet$", re.IGNORECASE)
_SHARD = re.compile(r".*\d\.tar", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?=\.tar$)", re.IGNORECASE)


def folder(root: str | Path, ground_truth: str | Path | None = None, choice: Choice | None = None) -> Source:
    """All images below a folder, sorted by path; if it holds none, those of the tar shards or Parquet files below it.

    The label of an image is the name of the first folder below the root, as in an ImageFolder, or comes from the
    ground-truth file. Hidden files and folders, folders that programs keep for themselves, other indexes, and files
    that are not named like images are left out and counted, unless ``choice`` includes them.

    Raises
    ------
    SourceError
        If the folder is missing or holds no image, or the ground-truth file does not fit.
    """
    root = Path(root)
    if not root.exists():
        raise SourceError(f"there is no folder or file '{root}'", hint="Check the path.")
    if not root.is_dir():
        raise SourceError(f"'{root}' is not a folder", hint="Give a folder of images.")
    choice = choice or Choice()
    found = walk(root, choice)
    # After a link, `..` leads elsewhere, so it is resolved; otherwise a link stays as it is.
    where = str(root.resolve() if ".." in root.parts else root.absolute())
    if not found.files:
        source = _archives_in(root, ground_truth, choice, found.left_out)
        return replace(source, skipped=(*found.skipped, *source.skipped), origin=where)
    if ground_truth is not None:
        labels = truths.labels(found.files, Path(ground_truth))
    else:
        labels = [name.split("/")[0] if "/" in name else None for name in found.files]
    files = tuple(SourceFile(name, label) for name, label in zip(found.files, labels, strict=True))
    return Source(where, files, tuple(found.skipped), origin=where, left_out=found.left_out)


def _archives_in(root: Path, ground_truth: str | Path | None, choice: Choice, left_out: tuple[LeftOut, ...]) -> Source:
    """The shards or the Parquet files of a folder without images: the layouts of img2dataset, WebDataset and the
    Hugging Face hub. Beside shards, Parquet files describe them.
    """
    names = walk(root, choice, lambda name: kind_of(name) in (Kind.TAR, Kind.PARQUET)).files
    shards = [name for name in names if _SHARD.fullmatch(os.path.basename(name))]
    names = shards or [name for name in names if kind_of(name) is Kind.PARQUET]
    if not names or ground_truth is not None:
        raise _no_images(root, left_out)
    if shards:
        sets = sorted({_NUMBER.sub("*", name) for name in shards})
        if len(sets) > 1:
            raise SourceError(
                f"'{root}' holds the shards of several data sets: {shorten(sets, 4)}",
                hint="Give those of one, as in 'train-{0000..0012}.tar'.",
            )
    splits = sorted({match[1] for name in names if (match := _SPLIT.search(name))})
    if len(splits) > 1:
        raise SourceError(
            f"'{root}' holds the Parquet files of several splits: {', '.join(splits)}",
            hint="Give the files of one, as in 'data/train-{00000..00012}-of-00013.parquet'.",
        )
    try:
        return archived([os.path.join(root.absolute(), name) for name in names], root=str(root.absolute()))
    except NoImageColumnError as error:
        raise _no_images(root, left_out, f": {error.message}") from error


def _no_images(root: Path, left_out: tuple[LeftOut, ...], detail: str = "") -> SourceError:
    hint = "Looked for .jpg, .png, .webp and other image files."
    if is_saved(root):
        hint = f"It was written by save_to_disk: give hf:{root}."
    elif not detail and any(kind_of(name) is not None for name in os.listdir(root)):
        hint = "Give the archives in it by name, several as 'train-{0000..0012}.tar'."
    if left_out and not detail:
        detail = f"; it holds {shorten([str(one) for one in left_out], 4, '')}"
    return SourceError(f"there are no images in '{root}'{detail}", hint=hint)
