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
        Numbers turned into codes on all cores, for each family of codes: ``SQ16``, ``SQ8``, ``PQ``, ``RaBitQ``.
    scanned : mapping of str to float
        Bytes that one query compares: codes of each family, ``centroids``, and with all cores vectors (``Flat``).
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


# Measured by backends/kind_rates.py on a machine that did little else.
USUAL = Rates(
    source="two cores of an AMD EPYC with AVX-512, at 512 dimensions",
    cores=2,
    products=1.7e11,
    encoded={"SQ16": 3.6e8, "SQ8": 4.2e8, "PQ": 7.9e7, "RaBitQ": 8.3e7},
    scanned={"Flat": 2e10, "centroids": 4e10, "SQ16": 1.86e10, "SQ8": 9.5e9, "PQ": 2.18e10, "RaBitQ": 6.2e9},
    walked=4.8e6,
    compared=9.5e5,
    read=2e3,
    written=2.8e8,
)
