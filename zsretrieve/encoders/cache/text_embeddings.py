"""Cached vectors of recent queries, so that a repeated search needs no model, and of prompts.

They are in two files in the user's cache folder (``vector_store``), under digests of all that a vector depends on.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.records import Encoding, Space
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.cache.vector_store import HOUR_NS, VectorFile
from zsretrieve.system.version import tool_version

QUERIES = VectorFile("queries.sqlite3", "queries", most=10_000)
# 1,000 classes in 80 templates are 80,000 prompts, and 180 MB at 512 dimensions.
PROMPTS = VectorFile(
    "prompts.sqlite3", "prompts", most=250_000, spare=25_000, noted_ns=24 * HOUR_NS, page_bytes=1 << 14
)
# In a batch the last bits of a vector may differ; that matters less than the seconds that many queries would take.
_MOST_ALONE = 16
# The packages that affect the vector of a text.
_PACKAGES = (
    "ftfy", "numpy", "open_clip_torch", "openvino", "regex", "timm", "tokenizers", "torch", "transformers",
)  # fmt: skip


class CachedQueries:
    """TextEncoder that takes the vectors of queries from the cache, and loads the model only for missing ones.

    Parameters
    ----------
    space : Space
        The embedding space of the gallery to search.
    settings : str
        What decides how texts are encoded: engine, precision, kind of machine. The versions of packages are added.
    load : callable
        Loads the encoder for a space.
    is_as_planned : callable
        Whether vectors of this encoding may be stored as those of ``settings``.
    together : bool
        Encode even a few texts in one batch.
    """

    def __init__(
        self,
        space: Space,
        settings: str,
        load: Callable[[Space], Encoder],
        is_as_planned: Callable[[Encoding], bool] = lambda _: True,
        *,
        together: bool = False,
    ) -> None:
        self._space = space
        self._load = load
        self._is_as_planned = is_as_planned
        self._prefix = prefix_of(space, settings)
        self._most_alone = 1 if together else _MOST_ALONE

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, float32 of shape (len(texts), dim), unit rows.

        Each is encoded alone, so that a query always has the same bits; many are encoded in batches, and kept with the
        vectors of prompts.

        Raises
        ------
        SpaceMismatchError
            If the model had to be loaded and has another embedding space.
        """
        keys = {text: _key(self._prefix, text) for text in texts}
        vectors = QUERIES.recall(list(keys.values()), self._space.dim)
        are_many = len(keys) - len(vectors) > self._most_alone
        if are_many:
            vectors |= PROMPTS.recall([key for key in keys.values() if key not in vectors], self._space.dim)
        missing = {key: text for text, key in keys.items() if key not in vectors}
        if missing:
            encoder = self._load(self._space)
            encoded = (
                encoder.encode_texts(list(missing.values()))
                if are_many
                else [encoder.encode_texts([text])[0] for text in missing.values()]
            )
            new = dict(zip(missing, encoded, strict=True))
            if self._is_as_planned(encoder.text_encoding):
                (PROMPTS if are_many else QUERIES).remember(new)
            vectors |= new
        rows = np.empty((len(texts), self._space.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            rows[row] = vectors[keys[text]]
        return rows


class CachedPrompts:
    """PromptMemory port over its own file, because prompts are encoded in batches, which may change their last bits.

    Parameters
    ----------
    space, settings, is_as_planned
        As for ``CachedQueries``.
    """

    def __init__(self, space: Space, settings: str, is_as_planned: Callable[[Encoding], bool] = lambda _: True) -> None:
        self._dim = space.dim
        self._is_as_planned = is_as_planned
        self._prefix = prefix_of(space, settings)

    def recall(self, texts: Sequence[str]) -> dict[str, Vectors]:
        keys = {text: _key(self._prefix, text) for text in texts}
        vectors = PROMPTS.recall(list(keys.values()), self._dim)
        return {text: vectors[key] for text, key in keys.items() if key in vectors}

    def keep(self, texts: Sequence[str], vectors: Vectors, encoding: Encoding) -> None:
        if self._is_as_planned(encoding):
            PROMPTS.remember({_key(self._prefix, text): row for text, row in zip(texts, vectors, strict=True)})


def prefix_of(space: Space, settings: str, packages: Sequence[str] = ()) -> bytes:
    """All that vectors depend on except the text or the image, which may also depend on further ``packages``."""
    compared = asdict(space)
    del compared["model"], compared["images_of"]  # the same weights may be in two places
    return json.dumps([compared, settings, tool_version(), versions(packages)], sort_keys=True).encode()


def versions(packages: Sequence[str] = ()) -> list[str]:
    """Those of the packages that affect vectors, and of further ``packages``."""
    return [_version_of(package) for package in (*_PACKAGES, *packages)]


def _key(prefix: bytes, text: str) -> bytes:
    return hashlib.sha256(prefix + text.encode("utf-8", "surrogatepass")).digest()


@functools.cache
def _version_of(package: str) -> str:
    """The version of an installed package, "" if it is missing; a server asks for it with every search."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
