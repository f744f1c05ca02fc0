"""The kind of index that ``auto`` means."""

from __future__ import annotations

from dataclasses import dataclass

from zsretrieve.domain.byte_sizes import bytes_of, shown_bytes
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_names import usual_lists
from zsretrieve.domain.kind_recall import FAMILIES, Rung
from zsretrieve.domain.kind_sizes import index_bytes
from zsretrieve.domain.kinds import AUTO, FLAT, FLAT_UP_TO
from zsretrieve.domain.making import least_memory

# A GPU reads this many bytes of vectors in some hundredths of a second at most.
_FLAT_BYTES_ON_GPU = 4_000_000_000
RECALL = 0.95
# What auto chooses from, the quickest first, and how much these look at by default.
_FAMILIES = ("IVF*,PQD/2x4fsr", "IVF*,PQD/4x4fsr", "IVF*,SQ8", "SQ8")
_DEPTH, _ROOTS = 400, 4
# An amount of memory that is shown with three digits is enough then.
_ROUNDED_UP = 1.005


@dataclass(frozen=True)
class Demands:
    """What is demanded of an index: that it is made and searched within ``memory`` bytes (None: any), and the share of
    the ten best images that it finds for texts and for images, ``recall``.
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


def automatic(
    count: int, dim: int, demands: Demands = NO_DEMANDS, *, on_gpu: bool = False, taken: int | None = None
) -> Choice:
    """The kind for so many images: exact as long as that is quick, else the quickest that meets the demands.

    The recall of a kind is that for texts and for images, measured with its own effort (docs/index-kinds.md). Codes of
    one bit (RaBitQ) look good for image queries and lose the neighbours of texts, so they are not among these.

    Parameters
    ----------
    count, dim : int
    demands : Demands
    on_gpu : bool
        Whether exact searches run on a GPU.
    taken : int, optional
        What the process that makes it takes before, as for ``least_memory``.

    Raises
    ------
    UsageError
        If no kind that finds as much can be made and searched within the memory.
    """
    if count <= FLAT_UP_TO:
        return Choice(FLAT, f"up to {FLAT_UP_TO:,} are compared one by one")
    if on_gpu and 4 * count * dim <= _FLAT_BYTES_ON_GPU:
        return Choice(FLAT, f"a GPU compares {shown_bytes(4 * count * dim)} of vectors one by one")
    if demands.recall == 1:
        return Choice(FLAT, "a recall of 1 needs every image compared")
    enough = [(kind, rung) for kind, rung in _by_speed(count, dim) if rung.reaches(demands.recall)]
    if not enough:
        return Choice(FLAT, f"no approximate kind was measured to find {demands.recall:g} for texts and for images")
    needed = {kind: least_memory(kind, dim, count, taken) for kind, _ in enough}
    for kind, rung in enough:
        if demands.memory is None or needed[kind] <= demands.memory:
            within = "" if demands.memory is None else f" of {shown_bytes(demands.memory)}"
            recall = f"recall about {rung.texts} for texts and {rung.images} for images, wanted {demands.recall:g}"
            return Choice(kind, f"{recall}; {shown_bytes(index_bytes(kind, dim, count))}{within}")
    kind = min(needed, key=lambda one: needed[one])
    raise UsageError(
        f"no index kind with a recall of {demands.recall:g} can be made of {count:,} images within "
        f"{shown_bytes(demands.memory or 0)}: the one that takes least is {kind}, which needs "
        f"{shown_bytes(_ROUNDED_UP * needed[kind])}",
        hint="Give that much `memory`, a lower `recall`, or Flat, which needs none beside the vectors.",
    )


def _by_speed(count: int, dim: int) -> list[tuple[str, Rung]]:
    """Kinds, and what was measured of them with their usual effort; the quickest first, those that compare all last."""
    lists = usual_lists(count)
    halves = dim // 2 if dim % 2 == 0 else dim
    kinds = []
    for family in _FAMILIES:
        if "D/4" not in family or dim % 4 == 0:
            kind = family.replace("*", str(lists)).replace("D/2", str(halves)).replace("D/4", str(dim // 4))
            usual = [rung for rung in FAMILIES[family].rungs if _is_usual(rung)]
            kinds.append((kind, max(usual, key=lambda rung: min(rung.texts, rung.images))))
    return kinds


def _is_usual(rung: Rung) -> bool:
    """Whether a search looks at as much by default."""
    return rung.depth <= _DEPTH and (rung.roots or 0) <= _ROOTS
