"""Ground-truth files: labels for pictures that lie flat."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from pathlib import Path

from zsretrieve.archives.names import can_be_written, is_number, numbered
from zsretrieve.errors import SourceError
from zsretrieve.images import is_image_name

_SYNSET = re.compile(r"n\d{8}")


def labels(found: list[str], truth: Path) -> list[str | None]:
    """The label of each picture found, by a ground-truth file. ``found`` are names as a folder or archive has them.

    Raises
    ------
    SourceError
        If the file cannot be read or does not fit.
    """
    return [None if label is None or not can_be_written(label) else label for label in _labels(found, truth)]


def _labels(found: list[str], truth: Path) -> list[str | None]:
    by_name, in_order = read_ground_truth(truth)
    if in_order is None:
        return _by_name(found, by_name, truth)
    if len(in_order) != len(found):
        raise SourceError(
            f"'{truth}' has {len(in_order)} labels, but the folder holds {len(found)} images",
            hint="A list without file names needs one label for each image, in the order of the names.",
        )
    given: list[str | None] = [None] * len(found)
    by_place = sorted(range(len(found)), key=lambda place: found[place].split("/"))
    for place, label in zip(by_place, in_order, strict=True):
        given[place] = label
    return given


def read_ground_truth(path: Path) -> tuple[dict[str, str], list[str] | None]:
    """Labels from a ground-truth file, by file name or in the order of the sorted names.

    Understood are: ``name label`` on each line, the label a synset id, a class name or the class's number from 0
    (as ``val.txt`` has it); Kaggle's ``LOC_val_solution.csv``; one label a line; and the development kit's
    ``ILSVRC2012_validation_ground_truth.txt``, whose numbers have an order of their own and need its ``meta.mat``
    beside the file.

    Returns
    -------
    by_name : dict of file name, as written, to label
    in_order : list of labels, or None when the file names its images

    Raises
    ------
    SourceError
        If it cannot be read or understood.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the ground truth '{path}' cannot be read: {error}", hint="Give a text file.") from error
    if not lines:
        raise SourceError(f"the ground truth '{path}' is empty", hint="Give one label a line.")
    if lines[0].lower().startswith("imageid,"):
        rows = list(csv.reader(lines[1:]))
        return _unique(((row[0], row[1].split()[0]) for row in rows if len(row) > 1 and row[1].strip()), path), None
    if all(is_number(line) for line in lines):
        return {}, _development_kit_labels(path, [int(line) for line in lines])
    named = [re.split(r"[\s,]+", line, maxsplit=1) for line in lines]
    if all(len(parts) == 2 and is_image_name(parts[0]) for parts in named):
        return _unique(((name, numbered(label)) for name, label in named), path), None
    if all(_SYNSET.fullmatch(line) for line in lines) or not any(is_image_name(parts[0]) for parts in named):
        return {}, lines
    raise SourceError(
        f"the ground truth '{path}' mixes lines with and without file names",
        hint="Write 'name label' on every line, or one label a line in the order of the names.",
    )


def _by_name(found: list[str], labels: dict[str, str], truth: Path) -> list[str | None]:
    """Labels for the pictures found: by path as written, by file name, or by the name without its suffix.

    Taken is the way that finds most of the named pictures, and only one in which no two of them share a name.
    """
    best: list[str | None] = []
    most = 0
    for short in (str, os.path.basename, _stem):
        named = {short(name): label for name, label in labels.items()}
        mine = [short(path) for path in found]
        matched = sum(key in named for key in mine)
        if len(named) == len(labels) and len(set(mine)) == len(mine) and matched > most:
            most = matched
            best = [named.get(key) for key in mine]
    if not best:
        raise SourceError(
            f"'{truth}' names none of the images in the folder, or names that several of them share",
            hint="Write paths relative to the folder, one line for each image.",
        )
    return best


def _unique(pairs: Iterable[tuple[str, str]], truth: Path) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, label in pairs:
        if labels.setdefault(name, label) != label:
            raise SourceError(f"'{truth}' gives two labels to '{name}'", hint="Keep one of them.")
    return labels


def _development_kit_labels(path: Path, ids: list[int]) -> list[str]:
    meta = next((p for p in (path.parent / "meta.mat", path.parent / "data" / "meta.mat") if p.is_file()), None)
    if meta is None:
        raise SourceError(
            f"'{path}' holds bare numbers, whose order is the development kit's own",
            hint=f"Put the kit's meta.mat into '{path.parent}', or give a file with synset ids.",
        )
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(str(meta), squeeze_me=True, struct_as_record=False)["synsets"]
        by_id = {int(s.ILSVRC2012_ID): str(s.WNID) for s in synsets}
    except (MatReadError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise SourceError(f"'{meta}' is not the development kit's: {error}", hint="Take it from the kit.") from error
    unknown = sorted(set(ids) - set(by_id))
    if unknown:
        raise SourceError(
            f"'{path}' has ids that '{meta}' does not know: {unknown[:5]}", hint="Take both from one kit."
        )
    return [by_id[i] for i in ids]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
