"""How an approximate index is made within an amount of memory: from what sample, and in how many parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zsretrieve.domain.byte_sizes import shown_bytes
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_names import parsed
from zsretrieve.domain.kind_sizes import FLOAT, bytes_per_vector, index_bytes
from zsretrieve.domain.kinds import Covered, Part

# An index that was made is tried with so many queries, which ask for as many rows each.
TRIALS = 8
# Rows are added in blocks of so many bytes.
BLOCK_BYTES = 16 << 20
# What FAISS and its matrix products take beside the rows and the index: copies of a block, scores, buffers of threads.
_WORK_BYTES = 128 << 20
# Training on more changes centroids little and takes long.
_SAMPLE, _SAMPLE_PER_LIST = 1 << 16, 100
# FAISS computes with a part of the sample in another form, and turns all of it where a kind begins with that.
_SAMPLES, _SAMPLES_IF_TURNED = 2, 3
# Lists grow by doubling their memory.
_GROWTH = 2
# Every part costs each search a little.
_MOST_PARTS = 64
# A process may hold a model: at most one part in so many of the memory is counted for what it takes before.
_TAKEN = 4


@dataclass(frozen=True)
class Steps:
    """How an index is made: ``sample`` rows to train on, and at most ``part`` rows in each part."""

    sample: int
    part: int


def sample_size(lists: int | None, count: int) -> int:
    """How many of so many rows a kind with so many lists is trained on, where memory allows."""
    return min(count, max(_SAMPLE, _SAMPLE_PER_LIST * (lists or 0)))


def most_taken(memory: int) -> int:
    """What is counted at most, of so much memory, for what a process takes before that may hold a model."""
    return memory // _TAKEN


def least_memory(kind: str, dim: int, count: int, taken: int | None = None) -> int:
    """The memory in bytes from which on ``steps`` makes and searches an index of ``count`` rows.

    ``taken`` is what the process takes before; by default ``most_taken`` of the memory.
    """
    beside = _least_beside(kind, dim, count)
    making = -(-beside * _TAKEN // (_TAKEN - 1)) if taken is None else taken + beside
    return max(making, index_bytes(kind, dim, count))


def steps(kind: str, dim: int, count: int, memory: int | None = None, taken: int = 0) -> Steps:
    """How to make an index of ``count`` rows while the process takes at most ``memory`` bytes.

    At any time there is either the sample, with the copies that FAISS makes of it, or one part, which may have grown to
    twice its size; and beside them what all parts share, and what FAISS works in.

    Parameters
    ----------
    kind : str
        An approximate kind.
    dim, count : int
    memory : int, optional
        By default there is no limit: one part.
    taken : int
        What the process takes before.

    Raises
    ------
    UsageError
        If the finished index, which a search loads, is larger than that, or it cannot be made within that.
    """
    sample = sample_size(parsed(kind, dim).parts.lists, count)
    if memory is None:
        return Steps(sample, count)
    size = index_bytes(kind, dim, count)
    if size > memory:
        raise UsageError(
            f"the index {kind} of {count:,} images takes {shown_bytes(size)}, and the memory is {shown_bytes(memory)}",
            hint="Give more `memory`, or a smaller kind: zsretrieve index kind GALLERY auto --memory SIZE chooses one.",
        )
    needed = taken + _least_beside(kind, dim, count)
    if memory < needed:
        raise UsageError(
            f"making the index {kind} of {count:,} images needs {shown_bytes(needed)} of memory, and there are "
            f"{shown_bytes(memory)}",
            hint="Give more `memory`" + (", or a kind with fewer lists." if parsed(kind, dim).parts.lists else "."),
        )
    room = memory - taken - _shared(kind, dim)
    part = int(room / (_GROWTH * bytes_per_vector(kind, dim)))
    return Steps(min(sample, room // _sample_row(kind, dim)), -(-count // -(-count // part)))


def _least_beside(kind: str, dim: int, count: int) -> int:
    """The memory that making an index takes at least, beside what the process takes before."""
    sample = _sample_row(kind, dim) * min(count, parsed(kind, dim).least)
    part = _GROWTH * bytes_per_vector(kind, dim) * (1 + count // _MOST_PARTS)
    return _shared(kind, dim) + max(sample, math.ceil(part))


def _shared(kind: str, dim: int) -> int:
    return _WORK_BYTES + _GROWTH * index_bytes(kind, dim, 0)


def _sample_row(kind: str, dim: int) -> int:
    """Bytes of a row to train on, with its copies."""
    return FLOAT * dim * (_SAMPLES if parsed(kind, dim).parts.front is None else _SAMPLES_IF_TURNED)


def split(covers: Sequence[Covered], most: int) -> list[tuple[Covered, ...]]:
    """Rows of segments in groups of at most ``most``, in the same order."""
    groups: list[list[Covered]] = [[]]
    room = most
    for one in covers:
        start, left = one.start, one.rows
        while left:
            if not room:
                groups.append([])
                room = most
            taken = min(left, room)
            groups[-1].append(Covered(one.name, taken, start))
            start, left, room = start + taken, left - taken, room - taken
    return [tuple(group) for group in groups if group]


def gaps(segments: dict[str, int], parts: Sequence[Part]) -> list[Covered]:
    """The rows of segments, whose numbers of rows are given by their names, that no part holds."""
    held: dict[str, list[Covered]] = {}
    for one in (one for part in parts for one in part.covers):
        held.setdefault(one.name, []).append(one)
    free = []
    for name, rows in segments.items():
        start = 0
        for one in [*sorted(held.get(name, ()), key=lambda one: one.start), Covered(name, 0, rows)]:
            if one.start > start:
                free.append(Covered(name, one.start - start, start))
            start = one.start + one.rows
    return free
