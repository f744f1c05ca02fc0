"""Galleries of given vectors, without images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from kits.hashing_encoder import HashingEncoder
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.records import IndexKind, Item, Manifest
from zsretrieve.domain.vectors import Vectors
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.store import indexes, rows
from zsretrieve.store.folder import creating, now, writing
from zsretrieve.store.rows import LiveVectors

BACKEND = FaissBackend("cpu")


def vector_gallery(out: Path, vectors: Vectors) -> Path:
    """A gallery whose image i has vector i; its label is the last digit of i."""
    encoder = HashingEncoder(vectors.shape[1])
    with creating(out) as writer:
        segment = rows.write_blocks(
            writer, [_item(number) for number in range(len(vectors))], [vectors], vectors.shape[1]
        )
        index = indexes.write_index(writer, indexes.index_of(LiveVectors.of(vectors), vectors.shape[1], BACKEND))
        writer.commit(
            Manifest(
                kind=IndexKind.GALLERY, space=encoder.space, head=encoder.head, encoding=encoder.encoding,
                count=len(vectors), factory="Flat", files={}, created=now(), tool_version="test", verified=now(),
                segments=(segment,), index=index, next_id=len(vectors), root=str(out.parent.absolute()),
            )
        )  # fmt: skip
    return out


def put(out: Path, vectors: Mapping[int | None, Vectors] | Collection[Vectors]) -> None:
    """Replace the vectors of images by their IDs, or add images."""
    with writing(out) as writer:
        builder = GalleryBuilder(writer, *indexes.gallery_rows(writer), BACKEND)
        if isinstance(vectors, Mapping):
            for number, vector in vectors.items():
                builder.put(_item(number), vector)
        else:
            for vector in vectors:
                builder.put(_item(builder.new_id()), vector)
        builder.finish()


def _item(number: int) -> Item:
    return Item(number, f"{number:06}.jpg", str(number % 10), 9, 9, 0, 0, f"{number:064x}")


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    """The share of the expected rows that were found, over all queries."""
    return float(np.mean([np.isin(want, have).mean() for have, want in zip(found, expected, strict=True)]))
