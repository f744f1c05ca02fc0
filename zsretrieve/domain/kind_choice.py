"""The kind of index that ``auto`` means."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zsretrieve.domain.byte_sizes import bytes_of, shown_bytes
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_recall import RECALL as RECALLS
from zsretrieve.domain.kind_recall import Rung
from zsretrieve.domain.kind_sizes import index_bytes
from zsretrieve.domain.kinds import AUTO, FLAT, FLAT_UP_TO

# A GPU reads this many bytes of vectors in some hundredths of a second at most.
_FLAT_BYTES_ON_GPU = 4_000_000_000
RECALL = 0.95
# What auto chooses from, the quickest first, and how much these look at by default.
_FAMILIES = ("IVF*,PQD/2x4fsr", "IVF*,PQD/4x4fsr", "IVF*,SQ8", "SQ8")
_DEPTH, _ROOTS = 400, 4


@dataclass(frozen=True)
class Demands:
    """What is demanded of an index: that it is made and searched within ``memory`` bytes (None: any), and the share of
    the ten best images for a text that it finds, ``recall``.
    """

    memory: int | None = None
    recall: float = RECALL

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise UsageError(
                f"recall must be above 0 and at most 1, got {self.recall:g}", hint="Give a share such as 0.95."
            )


NO_DEMANDS = Demands()


def demands_of(kind: str, memory: int | str | None, recall: float | None = None) -> Demands:
    """What is demanded of a kind, from an amount of memory as people write it. Raises UsageError."""
    if memory is not None and kind == FLAT:
        raise UsageError("the kind Flat needs no memory of its own", hint="Leave `memory` out, or name another kind.")
    if recall is not None and kind != AUTO:
        raise UsageError("recall is for the kind auto, which chooses by it", hint="Leave it out, or use auto.")
    return Demands(None if memory is None else bytes_of(memory), RECALL if recall is None else recall)


@dataclass(frozen=True)
class Choice:
    """A kind, and why it was chosen, in a few words."""

    kind: str
    reason: str


def automatic(count: int, dim: int, demands: Demands = NO_DEMANDS, *, on_gpu: bool = False) -> Choice:
    """The kind for so many images: exact as long as that is quick, else the quickest that meets the demands.

    The recall of a kind is that for texts, measured with its own effort (docs/index-kinds.md). Codes of one bit
    (RaBitQ) look good for image queries and lose the neighbours of texts, so they are not among these.

    Parameters
    ----------
    count, dim : int
    demands : Demands
    on_gpu : bool
        Whether exact searches run on a GPU.

    Raises
    ------
    UsageError
        If no kind that finds as much fits the memory.
    """
    if count <= FLAT_UP_TO:
        return Choice(FLAT, f"up to {FLAT_UP_TO:,} are compared one by one")
    if on_gpu and 4 * count * dim <= _FLAT_BYTES_ON_GPU:
        return Choice(FLAT, f"a GPU compares {shown_bytes(4 * count * dim)} of vectors one by one")
    if demands.recall == 1:
        return Choice(FLAT, "a recall of 1 needs every image compared")
    found = _by_speed(count, dim)
    enough = [(kind, recall) for kind, recall in found if recall >= demands.recall]
    for kind, recall in enough:
        size = index_bytes(kind, dim, count)
        if demands.memory is None or size <= demands.memory:
            within = "" if demands.memory is None else f" of {shown_bytes(demands.memory)}"
            found_and_wanted = f"recall of texts about {recall}, wanted {demands.recall:g}"
            return Choice(kind, f"{found_and_wanted}; {shown_bytes(size)}{within}")
    if not enough:
        return Choice(FLAT, f"no approximate kind has a recall of texts of {demands.recall:g}")
    size, kind = min((index_bytes(kind, dim, count), kind) for kind, _ in enough)
    raise UsageError(
        f"no index kind with a recall of texts of {demands.recall:g} fits {shown_bytes(demands.memory or 0)}: the "
        f"smallest is {kind} with {shown_bytes(size)}",
        hint="Give that much `memory`, a lower `recall`, or Flat, which needs none beside the vectors.",
    )


def _by_speed(count: int, dim: int) -> list[tuple[str, float]]:
    """Kinds and the recall of texts that was measured of them, the quickest first; those without lists compare all."""
    lists = 2 ** round(math.log2(2 * math.sqrt(count)))
    halves = dim // 2 if dim % 2 == 0 else dim
    kinds = []
    for family in _FAMILIES:
        if "D/4" not in family or dim % 4 == 0:
            kind = family.replace("*", str(lists)).replace("D/2", str(halves)).replace("D/4", str(dim // 4))
            kinds.append((kind, max(rung.texts for rung in RECALLS[family] if _is_usual(rung))))
    return kinds


def _is_usual(rung: Rung) -> bool:
    """Whether a search looks at as much by default."""
    return rung.depth <= _DEPTH and (rung.roots or 0) <= _ROOTS
