"""What share of the ten best the families of index kinds find at which effort, as scripts/bench_scale measured it.

The vectors were synthetic, of 512 dimensions, and as hard to search as those of CLIP (docs/benchmarks.md). A family is
named like its kinds, with * for the number of lists and D for the dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """An effort, and the recall among the ten best that was measured with it.

    ``roots`` is how many lists are searched, in square roots of the number of lists.
    """

    texts: float
    images: float
    depth: int
    roots: float | None = None
    ef: int | None = None


MEASURED_ON = 100_000
# More than 0.999 was measured, too, but not on enough queries to promise it.
RECALL: dict[str, tuple[Rung, ...]] = {
    "Flat": (Rung(1.0, 1.0, 0),),
    "SQfp16": (Rung(0.999, 0.999, 40),),
    "SQ8": (Rung(0.999, 0.999, 40),),
    "IVF*,SQ8": (
        Rung(0.975, 0.998, 40, 1),
        Rung(0.991, 0.999, 40, 2),
        Rung(0.998, 0.999, 40, 4),
        Rung(0.999, 0.999, 40, 8),
    ),
    "IVF*,PQD/2x4fsr": (
        Rung(0.972, 0.982, 100, 1),
        Rung(0.975, 0.998, 400, 1),
        Rung(0.986, 0.983, 100, 2),
        Rung(0.991, 0.999, 400, 2),
        Rung(0.991, 0.983, 100, 4),
        Rung(0.998, 0.999, 400, 4),
        Rung(0.991, 0.983, 100, 8),
        Rung(0.999, 0.999, 400, 8),
    ),
    "IVF*,PQD/4x4fsr": (
        Rung(0.970, 0.986, 400, 1),
        Rung(0.974, 0.998, 1000, 1),
        Rung(0.984, 0.988, 400, 2),
        Rung(0.990, 0.999, 1000, 2),
        Rung(0.987, 0.988, 400, 4),
        Rung(0.994, 0.999, 1000, 4),
        Rung(0.987, 0.988, 400, 8),
        Rung(0.995, 0.999, 1000, 8),
    ),
    "RRD,IVF*,RaBitQfs": (
        Rung(0.971, 0.998, 400, 1),
        Rung(0.974, 0.998, 1000, 1),
        Rung(0.974, 0.998, 2000, 1),
        Rung(0.985, 0.999, 400, 2),
        Rung(0.991, 0.999, 1000, 2),
        Rung(0.991, 0.999, 2000, 2),
        Rung(0.990, 0.999, 400, 4),
        Rung(0.997, 0.999, 1000, 4),
        Rung(0.998, 0.999, 2000, 4),
        Rung(0.991, 0.999, 400, 8),
        Rung(0.999, 0.999, 1000, 8),
        Rung(0.999, 0.999, 2000, 8),
    ),
    "HNSW32": (
        Rung(0.751, 0.995, 64, ef=64),
        Rung(0.846, 0.998, 128, ef=128),
        Rung(0.899, 0.999, 256, ef=256),
        Rung(0.951, 0.999, 512, ef=512),
    ),
}
