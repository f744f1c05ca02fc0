"""Giving a gallery another index kind."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from zsretrieve.domain.errors import OptionalDependencyError
from zsretrieve.domain.kind_choice import Demands
from zsretrieve.domain.kinds import AUTO, FLAT
from zsretrieve.domain.ports import IndexBackend, OnStage
from zsretrieve.domain.records import Manifest
from zsretrieve.store import making
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import gallery_vectors


def set_kind(
    out: Path, kind: str, backend: IndexBackend, demands: Demands, on_stage: OnStage | None = None
) -> Manifest:
    """See ``api.kinds.set_index_kind``."""
    with writing(out) as writer:
        manifest, vectors = gallery_vectors(writer)
        old, made = manifest.approximate, None
        if kind == AUTO:
            if demands.memory is not None:
                with contextlib.suppress(OptionalDependencyError):  # Flat needs none
                    backend.check_kind("SQ8", manifest.dim, manifest.count)  # loads FAISS, which counts as taken
            kind = making.chosen(manifest.count, manifest.dim, demands, alone=True)
            # What was tuned for less recall than this would find less; the kind's own effort was chosen for it.
            old = None if old is None else old.for_recall(demands.recall, manifest.count)
        if kind != FLAT:
            backend.check_kind(kind, manifest.dim, manifest.count)
            manifest = replace(manifest, factory=kind)
            made = making.make(
                writer, manifest, vectors, backend, on_stage, tuned=old, memory=demands.memory, alone=True
            )
        return writer.commit(replace(manifest, factory=kind, approximate=made))
