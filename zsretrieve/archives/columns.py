"""Which columns of a table hold pictures and labels, as the Hugging Face hub stores data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zsretrieve.archives import names
from zsretrieve.errors import SourceError

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes")
_LABELS = ("label", "labels", "fine_label", "cls")


class NoImageColumnError(SourceError):
    """A table without pictures."""


@dataclass(frozen=True)
class Columns:
    """``image`` is a binary column, or a struct whose field ``bytes`` is one. ``classes`` are names of the labels."""

    image: str
    in_struct: bool
    label: str | None
    classes: tuple[str, ...] | None

    @property
    def leaf(self) -> str:
        """The column of bytes, as Parquet names it."""
        return f"{self.image}.bytes" if self.in_struct else self.image


def find(schema: Any, where: str) -> Columns:
    """The columns of an Arrow schema. Raises NoImageColumnError if none holds pictures."""
    features = _features(schema)
    marked = [name for name, feature in features.items() if _type(feature) == "Image"]
    for name in (*marked, *_IMAGES):
        if name in schema.names and (in_struct := _holds_bytes(schema.field(name).type)) is not None:
            label = _label(schema, features)
            return Columns(name, in_struct, label, _classes(features.get(label)) if label else None)
    raise NoImageColumnError(
        f"'{where}' has no column of images; its columns are {', '.join(schema.names[:20])}",
        hint="Looked for bytes, or a struct with bytes, named image, img, jpg, png or bytes.",
    )


def is_text(schema: Any, name: str) -> bool:
    """Whether a column holds texts, whose size in memory no number of rows tells."""
    import pyarrow as pa

    kind = schema.field(name).type
    return not pa.types.is_integer(kind)


def values(column: Any) -> list[object]:
    """The values of a column of labels; texts as file names are read, whatever their bytes."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return list(column.to_pylist())
    texts = column.cast(pa.large_binary()).to_pylist()
    return [None if text is None else text.decode("utf-8", "surrogateescape") for text in texts]


def label_of(value: object, columns: Columns) -> str | None:
    """The label of a row.

    A number becomes the class's name where the data set tells names that say which class is meant, else ``#65``.
    """
    if isinstance(value, str):
        return names.label(value)
    if not isinstance(value, int) or value < 0:  # -1 stands for a label that is withheld
        return None
    if columns.classes is not None and value < len(columns.classes):
        return names.label(columns.classes[value], numbers=False)
    return f"#{value}"


def _features(schema: Any) -> dict[str, Any]:
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return content if isinstance(content, dict) else {}


def _type(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _holds_bytes(kind: Any) -> bool | None:
    """Whether the bytes lie in a struct; None if a type holds none."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        field = kind.get_field_index("bytes")
        return True if field >= 0 and _holds_bytes(kind.field(field).type) is False else None
    return False if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _label(schema: Any, features: dict[str, Any]) -> str | None:
    import pyarrow as pa

    marked = [name for name, feature in features.items() if _type(feature) == "ClassLabel"]
    for name in (*_LABELS, *(marked if len(marked) == 1 else ())):
        if name in schema.names:
            kind = schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
                return str(name)
    return None


def _classes(feature: object) -> tuple[str, ...] | None:
    """Names that can stand for their classes.

    ImageNet's are lists of synonyms, which no set of class names spells so, and some data sets have one name twice:
    then the number says more.
    """
    given = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        return None
    classes = tuple(str(name) for name in given)
    clear = len(set(classes)) == len(classes) and not any("," in name for name in classes) and all(classes)
    return classes if clear else None
