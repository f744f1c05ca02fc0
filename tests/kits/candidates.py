"""Approximate indexes: their files and efforts, and whether one answers for the images of now and for no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zsretrieve as zs
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.making import Steps
from zsretrieve.domain.ranking import exact_scores
from zsretrieve.store import making
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import Gallery

# The gallery of the tests of the store.
N, DIM, KIND = 3000, 32, "IVF16,SQ8"


def asking(gallery: Gallery, depth: int | None = None) -> Gallery:
    """A gallery that asks its approximate index also where few rows are selected, for ``depth`` candidates."""
    assert gallery.approximate is not None
    made = gallery.approximate.made
    effort = replace(made.effort, exact_below=0, depth=depth or made.effort.depth)
    gallery.approximate.made = replace(made, effort=effort)
    return gallery


def check_candidates(folder: Path) -> bool:
    """Assert that every image is found by its own vector, as by an exact search; returns whether the index was asked.

    The index must be one that compares all its rows. Copies share a vector, so scores are compared, not rows.
    """
    gallery = zs.open_gallery(folder, device="cpu")
    if gallery.approximate is None or not gallery.items:
        return False
    vectors = gallery.vectors
    rows, is_exact = asking(gallery, depth=4).nearest(vectors, 1)
    assert rows.min() >= 0, "a row that is not live"
    best = gallery.index.search(vectors, 1)[1]
    found, expected = (exact_scores(vectors, gallery.index.stored(some)) for some in (rows, best))
    np.testing.assert_array_equal(found, expected)
    return not is_exact.all()


@contextlib.contextmanager
def in_parts(rows: int) -> Iterator[None]:
    """Let approximate indexes be made in parts of so many rows, as little memory does."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(making, "steps", lambda kind, dim, count, *_: Steps(min(count, 1 << 16), rows))
        yield


def index_in_parts(out: Path, kind: str, rows: int, effort: Effort) -> None:
    """Give a gallery an approximate index in parts of so many rows, which is searched by an effort."""
    with in_parts(rows):
        zs.set_index_kind(out, kind)
    set_effort(out, **vars(effort))


def set_effort(gallery: Path, **effort: int | None) -> None:
    """Set some of the effort that the manifest names."""
    with writing(gallery) as writer:
        manifest = writer.manifest
        assert manifest is not None
        assert manifest.approximate is not None
        made = manifest.approximate
        writer.commit(replace(manifest, approximate=replace(made, effort=replace(made.effort, **effort))))


def file_of(gallery: Path) -> Path:
    """The file of the approximate index of a gallery, if it is one."""
    approximate = zs.read_manifest(gallery).approximate
    assert approximate is not None
    (file,) = approximate.files
    return gallery / file
