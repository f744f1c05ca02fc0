"""Making the approximate index of a gallery, and keeping it: parts are added until it must be trained again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from zsretrieve.backends.loading import automatic_index_device
from zsretrieve.domain.errors import IntegrityError, OptionalDependencyError, UsageError
from zsretrieve.domain.kind_choice import Demands, automatic
from zsretrieve.domain.kinds import AUTO, FLAT, MOST_UNCOVERED, Approximate, Covered, Part
from zsretrieve.domain.making import Steps, gaps, most_taken, split, steps
from zsretrieve.domain.ports import IndexBackend, OnStage, PartMaker
from zsretrieve.domain.records import Manifest
from zsretrieve.domain.vectors import Vectors
from zsretrieve.store.approximate import FILE, live_of, rows_of
from zsretrieve.store.folder import SEGMENTS, Writer
from zsretrieve.store.rows import LiveVectors
from zsretrieve.system.memory import release, resident_bytes

_log = logging.getLogger("zsretrieve")
# What a process takes more between the choice of a kind and making it; 1 MB was measured.
_LOADED_LATER = 8 << 20


def uncovered(manifest: Manifest) -> int:
    """The rows of a gallery that its approximate index does not cover, removed ones included."""
    held = {} if manifest.approximate is None else manifest.approximate.held
    return sum(segment.rows - held.get(segment.name, 0) for segment in manifest.segments)


def check(kind: str, dim: int, count: int, demands: Demands, backend: IndexBackend) -> None:
    """Refuse a kind, also ``auto``, that cannot be made of so many images as is demanded, before any work.

    Raises
    ------
    OptionalDependencyError, UsageError
        As ``IndexBackend.check_kind``, ``steps`` and ``automatic``.
    """
    if kind == AUTO:
        kind = automatic(count, dim, demands, on_gpu=automatic_index_device() != "cpu").kind
        if kind != FLAT:
            backend.check_kind(kind, dim, count)
    elif kind != FLAT:
        backend.check_kind(kind, dim, count)
        memory = demands.memory
        steps(kind, dim, count, memory, 0 if memory is None else most_taken(memory))


def chosen(count: int, dim: int, demands: Demands, *, alone: bool = False) -> str:
    """The kind that ``auto`` means for a gallery; the reason is logged.

    ``alone`` is as for ``make``. Raises UsageError if none can be made within the memory.
    """
    on_gpu = automatic_index_device() != "cpu"
    choice = automatic(count, dim, demands, on_gpu=on_gpu, taken=resident_bytes() + _LOADED_LATER if alone else None)
    _log.info(f"the index kind for {count:,} images is {choice.kind}: {choice.reason}")
    return choice.kind


def is_due(manifest: Manifest) -> bool:
    """Whether the approximate index of a gallery must be made, made again, or gets more parts."""
    if manifest.factory == FLAT or not manifest.count:
        return manifest.approximate is not None
    old = manifest.approximate
    if old is None or old.kind != manifest.factory or old.is_stale(manifest.count):
        return True
    return uncovered(manifest) > MOST_UNCOVERED * manifest.count


def renewed(
    writer: Writer,
    manifest: Manifest,
    vectors: LiveVectors,
    backend: IndexBackend,
    on_stage: OnStage | None = None,
    *,
    tuned: Approximate | None = None,
    memory: int | None = None,
    whole: bool = True,
) -> Approximate | None:
    """The approximate index for a manifest: the one it has if that is of its kind and covers enough, or else a new one.

    If a new one cannot be made, because FAISS is not installed, there are too few images by now or too little memory,
    that is logged, and the one there is stays. An emptied gallery gets none. A new one keeps the tuning and the memory
    of the old.

    Parameters
    ----------
    writer : Writer
    manifest : Manifest
    vectors : LiveVectors
        Of its segments.
    backend : IndexBackend
    on_stage : callable, optional
    tuned : Approximate, optional
        Whose tuning it gets where there is no old one.
    memory : int, optional
        As for ``make``, where there is no old one.
    whole : bool
        Make all of it again. Otherwise what is not covered gets parts of its own, with what was trained before, until
        more than a third of the images were added or replaced since.
    """
    old = manifest.approximate
    if not is_due(manifest):
        return old
    kind = manifest.factory
    if kind == FLAT or not manifest.count:
        return None
    if old is not None and old.kind != kind:
        old = None
    if old is not None:
        tuned, memory = old, old.memory
    try:
        if old is not None and not whole:
            extended = _extended(writer, manifest, vectors, backend, old, on_stage)
            if extended is not None:
                return extended
        backend.check_kind(kind, manifest.dim, manifest.count)
        return make(writer, manifest, vectors.parts, backend, on_stage, tuned=tuned, memory=memory)
    except (OptionalDependencyError, UsageError) as error:
        left = "images are compared one by one" if old is None else "the approximate index stays as it is"
        _log.warning(f"{error.message}, so {left}. {error.hint}")
        return old


def make(
    writer: Writer,
    manifest: Manifest,
    vectors: Sequence[Vectors],
    backend: IndexBackend,
    on_stage: OnStage | None = None,
    *,
    tuned: Approximate | None = None,
    memory: int | None = None,
    alone: bool = False,
) -> Approximate:
    """Write an index of the kind that a manifest names, over all rows of its segments.

    Parameters
    ----------
    writer : Writer
    manifest : Manifest
    vectors : sequence of float32 arrays of shape (rows, dim)
        Of these segments.
    backend : IndexBackend
    on_stage : callable, optional
    tuned : Approximate, optional
        If it is of this kind, the index gets its effort and tuning; by default the effort of the kind.
    memory : int, optional
        Bytes that the process may take meanwhile, and the index when it is loaded.
    alone : bool
        Count all that the process takes already. Otherwise it may hold a model, and a quarter of the memory is counted
        at most.

    Raises
    ------
    UsageError
        If that is too little, or the kind cannot be trained.
    """
    kind = manifest.factory
    covers = [Covered(segment.name, segment.rows) for segment in manifest.segments]
    most = _steps(manifest, vectors, memory, alone=alone)
    _log.info(f"making the index {kind} of {sum(one.rows for one in covers):,} rows ...")
    maker = backend.train_candidates(kind, manifest.dim, vectors, most.sample, on_stage)
    parts = _write(writer, manifest, vectors, maker, split(covers, most.part), on_stage)
    made = Approximate(kind, maker.effort, parts, trained=manifest.count, memory=memory)
    return made if tuned is None or tuned.kind != kind else replace(made, effort=tuned.effort, tuning=tuned.tuning)


def _extended(
    writer: Writer,
    manifest: Manifest,
    vectors: LiveVectors,
    backend: IndexBackend,
    old: Approximate,
    on_stage: OnStage | None,
) -> Approximate | None:
    """An index with more parts for what it does not cover, and without parts of which most is not live.

    None if it must be made again, because it was trained for too few of the images, or what was trained is damaged.
    """
    if old.is_stale(manifest.count):
        _log.info(f"the index was trained for less than two thirds of the {manifest.count:,} images")
        return None
    try:
        smallest = min(old.parts, key=lambda part: part.rows)
        maker = backend.trained_candidates(old.kind, manifest.dim, writer.out / smallest.file)
    except IntegrityError as error:
        _log.warning(f"{error.message}; the index is made again")
        return None
    live = live_of(manifest, vectors)
    kept = tuple(part for part in old.parts if 2 * np.count_nonzero(rows_of(part, live) >= 0) >= part.rows)
    covers = gaps({segment.name: segment.rows for segment in manifest.segments}, kept)
    _log.info(f"adding {sum(one.rows for one in covers):,} rows to the index {old.kind} ...")
    groups = split(covers, _steps(manifest, vectors.parts, old.memory).part)
    return replace(old, parts=(*kept, *_write(writer, manifest, vectors.parts, maker, groups, on_stage)))


def _steps(manifest: Manifest, vectors: Sequence[Vectors], memory: int | None, *, alone: bool = False) -> Steps:
    for part in vectors:
        release(part)
    taken = resident_bytes()
    if memory is not None and not alone:
        taken = min(taken, most_taken(memory))
    rows = sum(segment.rows for segment in manifest.segments)
    return steps(manifest.factory, manifest.dim, rows, memory, taken)


def _write(
    writer: Writer,
    manifest: Manifest,
    vectors: Sequence[Vectors],
    maker: PartMaker,
    groups: Sequence[tuple[Covered, ...]],
    on_stage: OnStage | None,
) -> tuple[Part, ...]:
    """Write a part for each group of rows."""
    of_segment = dict(zip((segment.name for segment in manifest.segments), vectors, strict=True))
    count, before = sum(one.rows for group in groups for one in group), 0
    parts = []
    for group in groups:
        rows = [of_segment[one.name][one.start : one.start + one.rows] for one in group]
        with writer.new_segment() as folder:
            maker.write(rows, folder / FILE, _progress(on_stage, before, count))
        parts.append(Part(f"{SEGMENTS}/{folder.name}/{FILE}", group))
        before += parts[-1].rows
    return tuple(parts)


def _progress(on_stage: OnStage | None, before: int, count: int) -> Callable[[int], None] | None:
    """The progress of a part among ``count`` rows, after ``before`` in others."""
    if on_stage is None:
        return None
    return lambda done: on_stage("filling the index", before + done, count)
