"""The columns of images and labels in a table, as the Hugging Face hub stores data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.images.archives import members

_SHOWN = 10
_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes")
_LABELS = ("label", "labels", "fine_label", "cls", "class_name", "class")
# Columns that name image files, where none holds their bytes.
_PATHS = (
    "image_path", "path", "file_name", "filename", "file_path", "filepath", "img_path", "image_file", "image", "img",
    "file",
)  # fmt: skip


class NoImageColumnError(SourceError):
    """A table without images."""


@dataclass(frozen=True)
class Columns:
    """``image`` is a binary column, or a struct whose field ``bytes`` is one. ``classes`` are names of the labels.

    ``problem`` says why a column that is named or marked as labels is not one.
    """

    image: str
    in_struct: bool
    label: str | None
    classes: tuple[str, ...] | None
    problem: str | None = None

    @property
    def leaf(self) -> str:
        """The column of bytes, as Parquet names it."""
        return f"{self.image}.bytes" if self.in_struct else self.image


def find(schema: Any, where: str) -> Columns:
    """The columns of an Arrow schema. Raises NoImageColumnError if none holds images."""
    features = _features(schema)
    marked = [name for name, feature in features.items() if _type(feature) == "Image"]
    for name in (*marked, *_IMAGES):
        if name in schema.names and (in_struct := _holds_bytes(schema.field(name).type)) is not None:
            label, problem = _label(schema, features)
            return Columns(name, in_struct, label, _classes(features.get(label)) if label else None, problem)
    raise NoImageColumnError(
        f"'{where}' has no column of images; its columns are {', '.join(schema.names[:20])}",
        hint="Looked for bytes, or a struct with bytes, named image, img, jpg, png or bytes; or for paths, named path, "
        "image_path or file_name.",
    )


def find_paths(schema: Any) -> tuple[str, Columns] | None:
    """The column that names image files, and the label's, of an Arrow schema; None if none does."""
    features = _features(schema)
    if {"digest", "mtime_ns"} <= {*schema.names}:  # the items of a gallery, whose paths are below its root
        return None
    for name in _PATHS:
        if name in schema.names and _is_path(schema.field(name).type):
            label, problem = _label(schema, features)
            return name, Columns(name, False, label, _classes(features.get(label)) if label else None, problem)
    return None


def _is_path(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def is_text(schema: Any, name: str) -> bool:
    """Whether a column holds texts, whose size does not follow from the number of rows."""
    import pyarrow as pa

    return not pa.types.is_primitive(schema.field(name).type)


def texts(column: Any) -> list[str | None]:
    """A column of texts, decoded like file names, whatever their bytes."""
    import pyarrow as pa

    # An array of fixed width pads its texts with NULs.
    found = (text and text.rstrip(b"\0") for text in _plain(column).cast(pa.large_binary()).to_pylist())
    return [text and text.decode("utf-8", "surrogateescape") for text in found]


def _plain(column: Any) -> Any:
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


class Labels:
    """Reads a column of labels, part by part, and notes what gives none."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._fractions = 0

    @property
    def problem(self) -> str | None:
        """Why there are no labels, or too few."""
        if self._fractions:
            values = counted(self._fractions, "value")
            return f"the column '{self._columns.label}' holds {values} with a fraction, which give no labels"
        return self._columns.problem

    def read(self, column: Any) -> list[str | None]:
        """The label of each row of a part.

        A number becomes the class's name if the data set has unambiguous names, otherwise ``#65``; false is 0, true 1.
        """
        column = _plain(column)
        if _is_numeric(column.type):
            return [self._of_number(value) for value in column.to_pylist()]
        return [members.label(text) if text else None for text in texts(column)]

    def _of_number(self, value: float | None) -> str | None:
        # -1 is a label that is withheld, and pandas writes NaN for none.
        if value is None or value != value or value < 0:
            return None
        if not float(value).is_integer():
            self._fractions += 1
            return None
        number, classes = int(value), self._columns.classes
        return members.label(classes[number]) if classes is not None and number < len(classes) else f"#{number}"


def _features(schema: Any) -> dict[str, Any]:
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return content if isinstance(content, dict) else {}


def _type(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _holds_bytes(kind: Any) -> bool | None:
    """Whether the bytes are in a struct; None if a type holds none."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        field = kind.get_field_index("bytes")
        return True if field >= 0 and _holds_bytes(kind.field(field).type) is False else None
    return False if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _label(schema: Any, features: dict[str, Any]) -> tuple[str | None, str | None]:
    """The column of labels, and what is wrong with another that could have been it."""
    import pyarrow as pa

    marked = [name for name, feature in features.items() if _type(feature) == "ClassLabel" and name in schema.names]
    problem: str | None = None
    for name in (*_LABELS, *(marked if len(marked) == 1 else ())):
        if name in schema.names:
            whole = schema.field(name).type
            kind = whole.value_type if pa.types.is_dictionary(whole) else whole
            if _is_numeric(kind) or _is_text(kind) or pa.types.is_null(kind):
                return str(name), problem
            problem = problem or f"the column '{name}' is {whole}, which gives no labels: numbers or texts do"
    if len(marked) > 1:
        problem = problem or f"the columns {shorten(marked, _SHOWN)} all hold class labels: name one of them 'label'"
    return None, problem


def _is_numeric(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    of_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(of_bytes or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _classes(feature: object) -> tuple[str, ...] | None:
    """Class names, if they are unambiguous.

    ImageNet's are lists of synonyms, which no set of class names spells like that, and some data sets have a name
    twice; then the number is clearer.
    """
    given = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        return None
    classes = tuple(str(name) for name in given)
    clear = len(set(classes)) == len(classes) and not any("," in name for name in classes) and all(classes)
    return classes if clear else None
