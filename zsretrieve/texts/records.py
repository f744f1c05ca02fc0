"""What a row of a file says: its texts, and the image that they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.names import seen
from zsretrieve.domain.wording import shorten

# Usual names of columns and keys. If a file has two of them, its user must say which one holds the texts.
_TEXTS = (
    "caption",
    "captions",
    "text",
    "txt",
    "sentence",
    "sentences",
    "title",
    "description",
    "comment",
    "alt_text",
    "alt",
    "prompt",
    "raw",
)
# The likeliest first.
_IMAGES = (
    "image",
    "image_path",
    "filepath",
    "file_path",
    "path",
    "file_name",
    "filename",
    "image_name",
    "img_path",
    "image_file",
    "img",
    "file",
    "image_url",
    "url",
)
_SPLITS = ("split", "partition")
# Where a published split names the folder and the file of an image apart.
_FOLDER, _FILE = "filepath", "filename"
_SHOWN = 12


@dataclass(frozen=True)
class Wanted:
    """Which columns or keys hold texts and images, by default those of usual names; and which ``split`` is wanted."""

    text: str | None = None
    image: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Row:
    """A row of a file: its number or name, and the fields that it has; or a text alone."""

    place: str
    fields: Mapping[str, Any] | str


@dataclass(frozen=True)
class Columns:
    """The names of the columns that a file has of those that matter."""

    text: str
    images: tuple[str, ...]
    split: str | None

    @classmethod
    def among(cls, names: Sequence[str], wanted: Wanted, where: str) -> Columns:
        """Choose among the names of a file.

        Raises
        ------
        SourceError
            If a column that is wanted is not there, or not exactly one has a usual name for texts.
        UsageError
            If a split is wanted, and no column names splits.
        """
        plain = {name.strip().lower(): name for name in reversed(names)}
        listed = shorten(list(names), _SHOWN)
        for parameter, name in (("column", wanted.text), ("image_column", wanted.image)):
            if name is not None and name not in names:
                raise SourceError(
                    f"'{where}' has no column '{name}'; its columns are {listed}", hint=f"Name one as `{parameter}`."
                )
        usual = [plain[name] for name in _TEXTS if name in plain]
        text = wanted.text or (usual[0] if len(usual) == 1 else names[0] if len(names) == 1 else None)
        if text is None:
            what = f"texts in several columns: {shorten(usual, _SHOWN)}" if usual else f"columns {listed}"
            raise SourceError(
                f"it is not clear which column of '{where}' holds the texts: it has {what}",
                hint="Name it as `column`.",
            )
        images = [plain[name] for name in _IMAGES if name in plain and plain[name] != text][:1]
        if _FOLDER in plain and _FILE in plain:
            images = [plain[_FOLDER], plain[_FILE]]
        if wanted.image is not None:
            images = [wanted.image]
        split = next((plain[name] for name in _SPLITS if name in plain), None)
        if wanted.split is not None and split is None:
            raise UsageError(
                f"'{where}' has no splits: none of its columns is named {shorten(_SPLITS, 2)}",
                hint="Leave out `split`.",
            )
        return cls(text, tuple(images), split)

    def image(self, fields: Mapping[str, Any]) -> str | None:
        """The image that a row describes, as written; None if it names none."""
        parts = [fields.get(name) for name in self.images]
        written = [str(part).strip() for part in parts if isinstance(part, str | int) and str(part).strip()]
        path = "/".join(part.strip("/") if number else part.rstrip("/") for number, part in enumerate(written))
        return path if path and "\0" not in path and not any(map(_is_surrogate, path)) else None


def texts_of(value: Any) -> list[str]:
    """The texts in a field: one, or those of a list, also where each is an object as in the published splits.

    Raises
    ------
    ValueError
        With the reason, if it holds none.
    """
    if isinstance(value, list | tuple):
        found = [text for one in value for text in texts_of(one)]
        if not found:
            raise ValueError("an empty list")
        return found
    if isinstance(value, Mapping):
        return texts_of(next((value[name] for name in ("raw", "caption", "text") if name in value), None))
    if value is None:
        raise ValueError("no text")
    if not isinstance(value, str):
        raise ValueError(f"not a text, but {type(value).__name__}")
    text = " ".join(seen(value).split())
    if not text:
        raise ValueError("empty")
    if any(map(_is_surrogate, text)):
        raise ValueError("not valid UTF-8")
    return [text]


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
