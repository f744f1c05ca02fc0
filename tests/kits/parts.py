"""Galleries whose approximate index is in parts that share all training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import faiss

from zsretrieve.domain.kinds import Approximate, Covered, Effort, Part
from zsretrieve.domain.vectors import Vectors
from zsretrieve.store.folder import SEGMENTS, writing


def index_in_parts(out: Path, kind: str, vectors: Vectors, ends: Sequence[int], effort: Effort) -> None:
    """Give a gallery of one segment, which holds ``vectors``, an approximate index with parts that end there."""
    trained = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    trained.train(vectors)
    with writing(out) as writer:
        manifest = writer.manifest
        assert manifest is not None
        parts = []
        for start, end in zip((0, *ends), ends, strict=False):
            index = faiss.clone_index(trained)
            index.add(vectors[start:end])
            with writer.new_segment() as segment:
                faiss.write_index(index, str(segment / "approximate.faiss"))
            covers = (Covered(manifest.segments[0].name, end - start, start),)
            parts.append(Part(f"{SEGMENTS}/{segment.name}/approximate.faiss", covers))
        writer.commit(replace(manifest, factory=kind, approximate=Approximate(kind, effort, tuple(parts))))
