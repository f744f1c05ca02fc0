"""Queries as the API takes them: images are sent first, and everything else is JSON."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from zsretrieve.domain.errors import ImageError, QueryError, UsageError
from zsretrieve.domain.queries import ItemId, Query, Term
from zsretrieve.domain.wanted import Wanted
from zsretrieve.domain.wording import one_line

# What PNG keeps as it is.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def body_of(query: Query, wanted: Wanted, revision: str | None, upload: Callable[[bytes], str]) -> dict[str, Any]:
    """The body of a search; ``upload`` sends an image and returns its name.

    Raises
    ------
    QueryError
        If a term is a vector, or an image cannot be read.
    UsageError
        If ``wanted`` says how images are turned, which the gallery decides.
    """
    if wanted.exif is not None:
        raise UsageError("a server turns query images as those of the gallery", hint="Leave exif out of Wanted.")
    return {
        "terms": [_term(term, upload) for term in query.terms], "minus": wanted.minus, "more": wanted.more,
        "less": wanted.less, "k": wanted.k, "offset": wanted.offset, "where": wanted.where, "dedup": wanted.dedup,
        "near": wanted.near, "min_score": wanted.min_score, "order": wanted.order.value, "literal": wanted.literal,
        "explain": wanted.explain, "exact": wanted.exact, "recall": wanted.recall, "whole": wanted.whole,
        "revision": revision,
    }  # fmt: skip


def _term(term: Term, upload: Callable[[bytes], str]) -> dict[str, Any]:
    if term.is_vector:
        raise QueryError("a server takes no vectors", hint="Search with a text, an image or an ID.")
    value: dict[str, Any]
    if isinstance(term.value, str):
        value = {"text": term.value}
    elif isinstance(term.value, ItemId):
        value = {"id": term.value.id}
    else:
        value = {"upload": upload(_content(term))}
    return {**value, "weight": term.weight, "box": term.box}


def _content(term: Term) -> bytes:
    """The bytes of an image's file; of an open image, a file that keeps its pixels."""
    from PIL import Image

    from zsretrieve.images import opening

    if term.path is not None:
        try:
            return opening.read(term.path).data
        except ImageError as error:
            raise QueryError(f"'{term.path}' cannot be read: {error.message}", hint=error.hint) from error
    data = io.BytesIO()
    try:
        image: Any = Image.fromarray(term.value) if isinstance(term.value, np.ndarray) else term.value
        image.save(data, "PNG" if image.mode in _MODES else "TIFF", exif=image.getexif())
    except (OSError, TypeError, ValueError) as error:
        raise QueryError(f"the image cannot be sent: {one_line(error)}", hint="Convert it to RGB.") from error
    return data.getvalue()
