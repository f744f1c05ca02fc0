"""Vectors of the texts that were searched for lately, so that a repeated search needs no model, and of prompts.

They lie in two files in the user's cache folder (``vector_file``). A text stands there only as a digest, over all that
its vector depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from PIL import Image

from zsretrieve.encoders.vector_file import HOUR_NS, VectorFile
from zsretrieve.ports import Encoder, MakeEncoder, Pixels
from zsretrieve.records import Encoding, Head, Space
from zsretrieve.store.indexes import check_same_space
from zsretrieve.vectors import Vectors
from zsretrieve.version import tool_version

QUERIES = VectorFile("queries.sqlite3", "queries", most=10_000)
# 1,000 classes in 80 templates are 80,000 prompts, and 180 MB at 512 dimensions.
PROMPTS = VectorFile(
    "prompts.sqlite3", "prompts", most=250_000, spare=25_000, noted_ns=24 * HOUR_NS, page_bytes=1 << 14
)
# The packages that clean and split texts and compute, or convert what does.
_PACKAGES = (
    "ftfy", "numpy", "open_clip_torch", "openvino", "regex", "timm", "tokenizers", "torch", "transformers",
)  # fmt: skip


class RememberingEncoder:
    """An encoder that takes the vectors of texts from the cache, and loads the model only for what is not there.

    Parameters
    ----------
    space : Space
        That of the gallery which is searched.
    made_by : str
        What is asked for, and the machine: engine, precision, kind of machine. The versions of the packages that
        encode are added.
    load : callable
        Gives the encoder itself.
    keeps : callable
        Whether vectors of an encoder that computes in this way may be kept, since it is what ``made_by`` stands for.
    """

    def __init__(
        self,
        space: Space,
        made_by: str,
        load: MakeEncoder,
        keeps: Callable[[Encoding], bool] = lambda _: True,
    ) -> None:
        self.space = space
        self._load = load
        self._keeps = keeps
        self._loaded: Encoder | None = None
        self._key = _way_of(space, made_by)

    @property
    def head(self) -> Head:
        return self._itself().head

    @property
    def encoding(self) -> Encoding:
        return self._itself().encoding

    @property
    def text_encoding(self) -> Encoding:
        return self._itself().text_encoding

    @property
    def batch_size(self) -> int:
        return self._itself().batch_size

    @property
    def concurrency(self) -> int:
        return self._itself().concurrency

    def prepare(self, image: Image.Image) -> Pixels:
        return self._itself().prepare(image)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        return self._itself().encode_prepared(batch)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._itself().token_counts(texts)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, each as the encoder gives it alone; float32 of shape (len(texts), dim), unit rows.

        Raises
        ------
        SpaceMismatchError
            If the model had to be loaded and is of another space.
        """
        keys = [_key_of(self._key, text) for text in texts]
        found = QUERIES.recall(keys, self.space.dim)
        new: dict[bytes, Vectors] = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in found and key not in new:
                # In a batch with others the last bits may differ.
                new[key] = self._itself().encode_texts([text])[0]
        if new and self._keeps(self._itself().text_encoding):
            QUERIES.remember(new)
        found.update(new)
        vectors = np.empty((len(texts), self.space.dim), dtype=np.float32)
        for row, key in enumerate(keys):
            vectors[row] = found[key]
        return vectors

    def _itself(self) -> Encoder:
        if self._loaded is None:
            loaded = self._load()
            check_same_space(self.space, "the gallery", loaded.space, "the query")
            self._loaded = loaded
        return self._loaded


class RememberedPrompts:
    """PromptMemory port over a file of its own: prompts are encoded many at once, which may change their last bits.

    Parameters
    ----------
    space, made_by, keeps
        As for ``RememberingEncoder``.
    """

    def __init__(self, space: Space, made_by: str, keeps: Callable[[Encoding], bool] = lambda _: True) -> None:
        self._dim = space.dim
        self._keeps = keeps
        self._key = _way_of(space, made_by)

    def recall(self, texts: Sequence[str]) -> dict[str, Vectors]:
        keys = {text: _key_of(self._key, text) for text in texts}
        found = PROMPTS.recall(list(keys.values()), self._dim)
        return {text: found[key] for text, key in keys.items() if key in found}

    def keep(self, texts: Sequence[str], vectors: Vectors, encoding: Encoding) -> None:
        if self._keeps(encoding):
            PROMPTS.remember({_key_of(self._key, text): row for text, row in zip(texts, vectors, strict=True)})


def _way_of(space: Space, made_by: str) -> bytes:
    """What all vectors of texts depend on that are made in one way."""
    compared = asdict(space)
    del compared["model"]  # one set of weights may lie in two places
    return json.dumps([compared, made_by, tool_version(), _versions()], sort_keys=True).encode()


def _key_of(way: bytes, text: str) -> bytes:
    return hashlib.sha256(way + text.encode("utf-8", "surrogatepass")).digest()


def _versions() -> list[str]:
    """The versions of the packages that vectors depend on, "" for one that is not installed."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("")
    return found
