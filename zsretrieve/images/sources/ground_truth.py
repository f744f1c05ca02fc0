"""Ground-truth files: labels for images in a flat folder or archive."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.names import SYNSET, composed
from zsretrieve.domain.text_files import Pairs, fields_of, lines_of, read_text, table_of, tidy, value_of
from zsretrieve.images.archives.members import can_be_written, is_number
from zsretrieve.images.content import is_image_name

_GAP = re.compile(r"[\s,;:|]+|$")
# The names of columns that hold file names, and labels, the likeliest first.
_NAMES = ("file_name", "filename", "file", "path", "filepath", "file_path", "image", "image_name", "img", "imageid",
          "image_id", "name", "id")  # fmt: skip
_LABELS = ("label", "labels", "class", "class_name", "category", "target", "predictionstring", "class_id", "label_id")
# A synset ID and its box, as Kaggle's ImageNet has them.
_PREDICTION = re.compile(rf"({SYNSET.pattern}|n\d+)(?: -?\d+){{4}}.*")


def labels(names: list[str], truth: Path) -> list[str | None]:
    """The label of each image from a ground-truth file. ``names`` are those in a folder or an archive.

    Raises
    ------
    SourceError
        If the file cannot be read or does not fit.
    """
    return [None if label is None or not can_be_written(label) else label for label in _labels(names, truth)]


def _labels(names: list[str], truth: Path) -> list[str | None]:
    by_name, in_order = read_ground_truth(truth)
    if in_order is None:
        return _by_name(names, by_name, truth)
    if len(in_order) != len(names):
        raise SourceError(
            f"'{truth}' has {len(in_order)} labels, but the folder holds {len(names)} images",
            hint="A list without file names needs one label per image, in the order of the names.",
        )
    ordered = sorted(names, key=lambda name: name.split("/"))
    label_of = dict(zip(ordered, in_order, strict=True))
    return [label_of[name] for name in names]


def read_ground_truth(path: Path) -> tuple[dict[str, str], list[str] | None]:
    """Labels from a ground-truth file, by file name or in the order of the sorted names.

    The formats are: ``name label`` on each line, the label a synset ID, a class name or the class's number from 0
    (as in ``val.txt``); a table with a first line that names its columns, such as Kaggle's ``LOC_val_solution.csv``;
    JSON or JSON lines of the same; one label per line; and the development kit's
    ``ILSVRC2012_validation_ground_truth.txt``, whose numbers have an order of their own and need its ``meta.mat``
    next to the file.

    Returns
    -------
    by_name : dict of file name, as written, to label
    in_order : list of labels, or None if the file names its images

    Raises
    ------
    SourceError
        If it cannot be read, or has none of these formats.
    """
    text = read_text(path, SourceError)
    lines = [line for line in map(tidy, lines_of(text)) if line]
    if not lines:
        raise SourceError(f"the ground truth '{path}' is empty", hint="Give one label per line.")
    if all(is_number(line) for line in lines):
        return {}, _development_kit_labels(path, [int(line) for line in lines])
    value = value_of(text)
    rows = table_of(text) if value is None else _rows(value, path)
    if rows and len(rows[0]) > 1 and (columns := _columns(rows[0], path)) is not None:
        return _unique(_of_table(rows[1:], *columns), path), None
    if value is not None and len(rows[0]) == 1:
        return {}, [row[0] for row in rows]
    if value is not None and len(rows[0]) == 2:
        return _unique(((name, label) for name, label in rows), path), None
    if value is not None:
        raise _not_labels(path)
    named = [_named(line) for line in lines]
    if all(named):
        return _unique(filter(None, named), path), None
    if not any(named):
        return {}, lines
    raise SourceError(
        f"the ground truth '{path}' mixes lines with and without file names",
        hint="Write 'name label' on every line, or one label per line in the order of the names.",
    )


def _named(line: str) -> tuple[str, str] | None:
    """The file name that a line begins with, which may hold spaces, and its label; None if there is no file name."""
    for gap in _GAP.finditer(line):
        name = line[: gap.start()].strip("\"'")
        if is_image_name(name):
            return name, line[gap.end() :].strip("\"'")
    return None


def _rows(value: Any, path: Path) -> list[list[str]]:
    """The rows of a table in JSON; of an object of labels by name, or of names by label, rows of a name and a label."""
    if isinstance(value, Pairs):
        by_label = [[name, label] for label, names in value.pairs if isinstance(names, list) for name in names]
        value = by_label or [[name, label] for name, label in value.pairs]
    fields = fields_of(value)
    if fields is not None:
        names = list(dict.fromkeys(name for row in fields for name in row))
        value = [names, *([row.get(name) for name in names] for row in fields)]
    rows = [row if isinstance(row, list) else [row] for row in value]
    if any(isinstance(cell, list | Pairs) for row in rows for cell in row) or len(set(map(len, rows))) != 1:
        raise _not_labels(path)
    return [[_cell(cell) for cell in row] for row in rows]


def _not_labels(path: Path) -> SourceError:
    return SourceError(
        f"the ground truth '{path}' holds neither names with labels nor a list of labels",
        hint='Write {"name.jpg": "label"}, or one object with file_name and label per line.',
    )


def _cell(value: Any) -> str:
    """A cell of JSON as text, in which a number is the number of a class."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else f"#{value:d}" if isinstance(value, int) else tidy(str(value))


def _columns(header: list[str], path: Path) -> tuple[int, int] | None:
    """Where the names and the labels of a table are; None if its first line does not name columns."""
    known = [cell.lower() for cell in header]
    name = next((known.index(one) for one in _NAMES if one in known), None)
    if name is None:
        return None
    label = next((known.index(one) for one in _LABELS if one in known and known.index(one) != name), None)
    if label is None and len(header) == 2:
        label = 1 - name
    if label is None:
        raise SourceError(
            f"the ground truth '{path}' has the columns {', '.join(header)}, and none of them is known to hold labels",
            hint="Call one of them label.",
        )
    return name, label


def _of_table(rows: Sequence[Sequence[str]], name: int, label: int) -> Iterator[tuple[str, str]]:
    for row in rows:
        if len(row) > max(name, label):
            boxes = _PREDICTION.fullmatch(row[label])
            yield row[name], boxes[1] if boxes is not None else row[label]


def _by_name(names: list[str], labels: dict[str, str], truth: Path) -> list[str | None]:
    """Labels for images by path as written, by file name, or by the name without its suffix.

    The way that matches most of the names wins; no two images may share a name.
    """
    best: list[str | None] = []
    most = 0
    slashes = not any("\\" in name for name in names)

    def written(name: str) -> str:
        """A path as the names of the source are, from any system."""
        return composed(name.replace("\\", "/") if slashes else name).removeprefix("./")

    for short in (str, os.path.basename, _stem):
        named = {short(written(name)): label for name, label in labels.items()}
        keys = [short(written(name)) for name in names]
        matched = sum(key in named for key in keys)
        if len(named) == len(labels) and len(set(keys)) == len(keys) and matched > most:
            most = matched
            best = [named.get(key) or None for key in keys]
    if not best:
        raise SourceError(
            f"'{truth}' names none of the images in the folder, or names that several of them share",
            hint="Write paths relative to the folder, one line per image.",
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
            f"'{path}' holds bare numbers, which only the development kit explains",
            hint=f"Put the kit's meta.mat into '{path.parent}', or give a file with synset IDs.",
        )
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(str(meta), squeeze_me=True, struct_as_record=False)["synsets"]
        by_id = {int(s.ILSVRC2012_ID): str(s.WNID) for s in synsets}
    except (MatReadError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise SourceError(
            f"'{meta}' is not that of the development kit: {error}", hint="Take it from the kit."
        ) from error
    unknown = sorted(set(ids) - set(by_id))
    if unknown:
        raise SourceError(
            f"'{path}' has IDs that '{meta}' does not have: {unknown[:5]}", hint="Take both from one kit."
        )
    return [by_id[i] for i in ids]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
