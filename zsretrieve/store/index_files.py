"""Writing the files of indexes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from zsretrieve.domain.ports import VectorIndex
from zsretrieve.domain.records import Manifest, Segment
from zsretrieve.store import folder as folders
from zsretrieve.store import rows
from zsretrieve.store.folder import SEGMENTS, Writer
from zsretrieve.store.prototype_files import DRAWN, PROMPTS, write_prompts
from zsretrieve.store.prototypes import Prototypes

FAISS = "index.faiss"


def write_prototypes(writer: Writer, prototypes: Prototypes) -> Manifest:
    """Write a prototype index and commit it."""
    with writer.new_segment() as segment:
        np.save(segment / rows.VECTORS, prototypes.vectors)
        write_prompts(segment / PROMPTS, prototypes.prompts)
        if prototypes.drawn is not None:
            np.save(segment / DRAWN, prototypes.drawn)
        if prototypes.keys is not None:
            prototypes.keys.write(segment)
    segments, index = (Segment(segment.name, len(prototypes.vectors)),), write_index(writer, prototypes.index)
    return writer.commit(replace(prototypes.manifest, segments=segments, index=index))


def keep_scale(folder: Path, scale: float) -> None:
    """Store the scale that probabilities of a prototype index use. Raises as ``zsretrieve.store.folder.writing``."""
    with folders.writing(folder) as writer:
        assert writer.manifest is not None
        writer.commit(replace(writer.manifest, fitted_scale=scale))


def write_index(writer: Writer, index: VectorIndex) -> str:
    """Write the FAISS file of an index into a segment folder of its own; returns its path in the index folder."""
    with writer.new_segment() as segment:
        index.save(segment / FAISS)
    return f"{SEGMENTS}/{segment.name}/{FAISS}"
