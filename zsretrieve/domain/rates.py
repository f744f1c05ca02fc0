"""How fast a machine does what making and searching an index is made of; ``docs/planning.md`` has the formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zsretrieve.domain.kind_names import KindParts
from zsretrieve.domain.plain import Result


@dataclass(frozen=True)
class Rates(Result):
    """What one machine does in a second.

    Attributes
    ----------
    source : str
        Where the figures come from.
    cores : int
        Searching takes one of them for a query, making an index all.
    products : float
        Floating-point operations of the search for the nearest of some thousand centroids, on all cores.
    encoded : mapping of str to float
        Numbers turned into codes on all cores, for each family of codes in lists: ``SQ16``, ``SQ8``, ``PQ``,
        ``RaBitQ``; and of ``SQ16`` and ``SQ8`` also without (``SQ8 without lists``).
    scanned : mapping of str to float
        Bytes that one query compares: codes of each of these, ``centroids``, and with all cores vectors (``Flat``).
    walked : float
        Distances that one query computes in a graph.
    compared : float
        Candidates whose vectors are in memory and are compared exactly.
    read : float
        Candidates whose vectors are read from the disk, one after the other.
    written : float
        Bytes of a file written, and digested.
    """

    source: str
    cores: int
    products: float
    encoded: Mapping[str, float]
    scanned: Mapping[str, float]
    walked: float
    compared: float
    read: float
    written: float


def family(parts: KindParts) -> str:
    """Whose rates the codes of a kind have. Fewer bits than 8 are taken for as slow as 8 of them."""
    if parts.code == "SQ":
        return "SQ16" if parts.bits == 16 else "SQ8"
    return parts.code


def without_lists(name: str) -> str:
    """Whose rates the codes of a family have in an index without lists."""
    return f"{name} without lists"


# Measured by backends/kind_rates.py on a machine that did little else, and rounded; ``read`` varied from 1e3 to 3.6e3.
USUAL = Rates(
    source="two cores of an Intel Xeon with AVX-512 and AMX, at 512 dimensions",
    cores=2,
    products=1.9e11,
    encoded={
        "SQ16": 2.1e8, "SQ8": 2.6e8, "PQ": 5e7, "RaBitQ": 6.8e7,
        without_lists("SQ16"): 2e8, without_lists("SQ8"): 3.5e8,
    },
    scanned={
        "Flat": 1.7e10, "centroids": 1.7e10, "SQ16": 4.8e9, "SQ8": 2.9e9, "PQ": 3.2e9, "RaBitQ": 1.5e9,
        without_lists("SQ16"): 9.9e9, without_lists("SQ8"): 4e9,
    },
    walked=3e6,
    compared=4e5,
    read=2e3,
    written=2.4e8,
)  # fmt: skip
