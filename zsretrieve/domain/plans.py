"""Plans for indexes: what each kind would take for so many vectors, before anything is encoded.

Pure arithmetic. ``docs/planning.md`` explains each figure, and says where the recall was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from zsretrieve.domain import kind_costs as costs
from zsretrieve.domain.byte_sizes import shown_bytes
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_names import parsed, usual_lists
from zsretrieve.domain.kind_recall import FAMILIES, Family, Rung
from zsretrieve.domain.kind_sizes import FLOAT, bytes_per_vector, index_bytes
from zsretrieve.domain.kinds import FLAT, FLAT_UP_TO, Effort
from zsretrieve.domain.plain import Result
from zsretrieve.domain.rates import Rates
from zsretrieve.domain.wording import three_digits

# What an open gallery keeps in memory of an image: ID, path, label, size, time, digest, and its row. 220 were measured
# with paths of 11 characters.
ITEM_BYTES = 240
# More lists than these are found by a graph.
_MOST_LISTS = 1 << 13
_HOUR = 3600.0


@dataclass(frozen=True)
class Wish:
    """What an index is wanted for.

    ``memory`` is that of one machine in bytes, None for as much as it takes. ``images`` are encoded in a second by one
    machine, None if that is not known.
    """

    vectors: int
    dim: int
    recall: float = 0.95
    memory: int | None = None
    images: float | None = None


@dataclass(frozen=True)
class PlannedKind(Result):
    """What a kind would take.

    Attributes
    ----------
    kind : str
        Of each shard.
    texts, images : float
        Recall among the ten best, as measured (``kind_recall``).
    measured_on : int
        Vectors that it was measured on.
    reaches : bool
        Whether both were measured to be as wanted, with a margin.
    depth, probes, ef : int or None
        The effort that this takes: candidates, lists, and the list of a walk through a graph.
    bytes_per_vector : float
        Code, ID and links.
    index_bytes : int
        Of the index of all shards, with all overheads.
    memory_bytes : int
        Of each machine: its index, and what a gallery keeps of its images.
    disk_bytes : int
        Of all machines: vectors twice, and the index.
    machines : int
        As many as there are shards.
    shard_vectors : int
        On each machine.
    sample : int
        Vectors that a shard is trained on.
    encode_hours : float or None
        To encode the images, by all machines.
    build_hours : float
        To make the index, by all machines.
    latency_ms : float
        Of one query, once the vectors that it compares are in memory.
    disk_ms : float
        Of one query that reads them from the disk.
    is_in_memory : bool
        Whether the vectors of a shard fit into the memory that is left, so that ``latency_ms`` is what to expect.
    """

    kind: str
    texts: float
    images: float
    measured_on: int
    reaches: bool
    depth: int
    probes: int | None
    ef: int | None
    bytes_per_vector: float
    index_bytes: int
    memory_bytes: int
    disk_bytes: int
    machines: int
    shard_vectors: int
    sample: int
    encode_hours: float | None
    build_hours: float
    latency_ms: float
    disk_ms: float
    is_in_memory: bool

    @property
    def expected_ms(self) -> float:
        """The latency of a query, with its vectors where they fit."""
        return self.latency_ms if self.is_in_memory else self.disk_ms


@dataclass(frozen=True)
class Plan(Result):
    """What was asked for and what it takes.

    Attributes
    ----------
    vectors, dim : int
    recall : float
        Wanted for texts and for images, among the ten best.
    memory : int or None
        Bytes of one machine.
    kinds : tuple of PlannedKind
        Those that reach the recall first, with the fewest machines and the least latency first.
    answer : str
        What to take, or what would do if what was asked does not fit.
    rates : Rates
    """

    vectors: int
    dim: int
    recall: float
    memory: int | None
    kinds: tuple[PlannedKind, ...]
    answer: str
    rates: Rates


def plan(wish: Wish, rates: Rates) -> Plan:
    """What each kind would take. Raises UsageError if no kind fits into such machines."""
    kinds = [found for name, family in FAMILIES.items() if (found := _planned(name, family, wish, rates)) is not None]
    if not any(one.reaches for one in kinds):
        raise UsageError(
            f"no kind that finds {wish.recall:g} holds even one vector of {wish.dim:,} dimensions in "
            f"{shown_bytes(wish.memory or 0)}",
            hint="Give more memory, with a unit, such as 8GB.",
        )
    kinds.sort(key=lambda one: (not one.reaches, one.machines, one.expected_ms))
    return Plan(wish.vectors, wish.dim, wish.recall, wish.memory, tuple(kinds), _answer(wish, kinds), rates)


def _planned(name: str, family: Family, wish: Wish, rates: Rates) -> PlannedKind | None:
    shards = _shards(name, wish)
    if shards is None:
        return None
    machines, count, kind = shards
    lists = parsed(kind, wish.dim).parts.lists

    size, vectors = index_bytes(kind, wish.dim, count), FLOAT * wish.dim * count
    memory = size + ITEM_BYTES * count
    is_in_memory = kind == FLAT or wish.memory is None or memory + vectors <= wish.memory

    def seconds(rung: Rung, *, from_disk: bool = not is_in_memory) -> float:
        return costs.query_seconds(kind, wish.dim, count, _effort(rung, lists), rates, from_disk=from_disk)

    enough = [rung for rung in family.rungs if rung.reaches(wish.recall)]
    rung = min(enough, key=seconds) if enough else max(family.rungs, key=lambda one: min(one.texts, one.images))
    return PlannedKind(
        kind=kind,
        texts=rung.texts,
        images=rung.images,
        measured_on=family.vectors,
        reaches=bool(enough),
        depth=rung.depth,
        probes=_effort(rung, lists).probes,
        ef=rung.ef,
        bytes_per_vector=bytes_per_vector(kind, wish.dim),
        index_bytes=machines * size,
        memory_bytes=memory,
        disk_bytes=machines * (2 * vectors + (0 if kind == FLAT else size)),
        machines=machines,
        shard_vectors=count,
        sample=costs.sample_of(kind, wish.dim, count),
        encode_hours=None if wish.images is None else wish.vectors / wish.images / machines / _HOUR,
        build_hours=0.0 if kind == FLAT else costs.making_seconds(kind, wish.dim, count, rates) / _HOUR,
        latency_ms=1e3 * seconds(rung, from_disk=False),
        disk_ms=1e3 * seconds(rung, from_disk=True),
        is_in_memory=is_in_memory,
    )


def _effort(rung: Rung, lists: int | None) -> Effort:
    probes = None if lists is None or rung.roots is None else min(lists, math.ceil(rung.roots * math.sqrt(lists)))
    return Effort(rung.depth, probes, rung.ef)


def _shards(name: str, wish: Wish) -> tuple[int, int, str] | None:
    """How many machines there must be, the vectors of each, and the kind; None if a kind cannot hold as few."""
    machines = 1
    while machines <= wish.vectors:
        count = -(-wish.vectors // machines)
        kind = _kind(name, wish.dim, count)
        if kind is None:
            return None
        held = index_bytes(kind, wish.dim, count) + ITEM_BYTES * count
        if wish.memory is None or held <= wish.memory:
            return machines, count, kind
        machines = max(machines + 1, machines * held // wish.memory)
    return None


def _kind(name: str, dim: int, count: int) -> str | None:
    """The name of the kind of a family for so many vectors, with about twice the square root of them as lists.

    None if it has parts that do not divide the dimensions, or there are too few vectors.
    """
    lists = usual_lists(count)
    many = f"{lists}_HNSW32" if lists > _MOST_LISTS else str(lists)
    named = re.sub(r"D/(\d+)", lambda found: f"{dim / int(found[1]):g}", name)
    kind = named.replace("*", many).replace("D", str(dim))
    try:
        return kind if parsed(kind, dim).least <= count else None
    except UsageError:
        return None


def _if_few(wish: Wish, kinds: Sequence[PlannedKind]) -> str:
    """What ``auto`` takes for so few."""
    flat = next((one for one in kinds if one.kind == FLAT and one.machines == 1), None)
    if flat is None or wish.vectors > FLAT_UP_TO:
        return ""
    return (
        f" The kind auto compares up to {FLAT_UP_TO:,} one by one (Flat), which finds all and takes "
        f"{three_digits(flat.expected_ms)} ms."
    )


def _answer(wish: Wish, kinds: Sequence[PlannedKind]) -> str:
    """What to take, or what would do."""
    asked = f"{wish.vectors:,} vectors of {wish.dim:,} dimensions"
    enough = [kind for kind in kinds if kind.reaches]
    first = enough[0]
    if first.machines == 1:
        return (
            f"Take {first.kind}: one machine holds {asked} in {shown_bytes(first.memory_bytes)} of memory, and a "
            f"search finds {first.texts:.3f} of the ten best for texts and {first.images:.3f} for images, in "
            f"{three_digits(first.expected_ms)} ms.{_if_few(wish, kinds)}"
        )
    memory = wish.memory or 0
    small = min(enough, key=lambda kind: kind.memory_bytes * kind.machines)
    text = (
        f"Not on one machine: {shown_bytes(memory)} are {three_digits(memory / wish.vectors)} bytes for each of "
        f"{asked}, and no kind that finds {wish.recall:g} of the ten best for texts and images takes less than "
        f"{small.memory_bytes / small.shard_vectors:.0f}, of which {ITEM_BYTES} are for paths and the like. "
        f"{first.machines:,} machines with {first.kind} would do; its index alone would fill "
        f"{-(-first.index_bytes // memory):,}."
    )
    fitting = [kind for kind in kinds if kind.machines == 1]
    if fitting:
        one = fitting[0]
        text += f" One machine holds {one.kind}, which finds {one.texts:.3f} for texts and {one.images:.3f} for images."
    return text
