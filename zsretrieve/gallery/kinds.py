"""Giving a gallery another index kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zsretrieve.domain.kinds import AUTO, FLAT
from zsretrieve.domain.ports import IndexBackend, OnStage
from zsretrieve.domain.records import Manifest
from zsretrieve.store import approximate
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import gallery_rows


def set_kind(out: Path, kind: str, backend: IndexBackend, on_stage: OnStage | None = None) -> Manifest:
    """See ``api.kinds.set_index_kind``."""
    with writing(out) as writer:
        manifest, live = gallery_rows(writer)
        if kind == AUTO:
            kind = approximate.chosen(manifest.count, manifest.dim)
        made = None
        if kind != FLAT:
            parts = live.vectors.parts
            backend.check_kind(kind, manifest.dim, manifest.count)
            manifest = replace(manifest, factory=kind)
            made = approximate.make(writer, manifest, parts, backend, on_stage, tuned=manifest.approximate)
        return writer.commit(replace(manifest, factory=kind, approximate=made))
