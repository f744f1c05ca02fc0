"""What share of the ten best the families of index kinds find at which effort, as scripts/bench_scale measured it.

Synthetic vectors of 512 dimensions were searched that are as hard as those of CLIP (docs/benchmarks.md), with 300
queries of each kind. ``bench_scale --table FILE --rungs`` prints such figures.

A family is named like its kinds, with * for the number of lists and D for the dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

# An effort that is chosen by its recall looks better than it is, and 300 queries measure that to about 0.005. So it
# must have been measured to find so much more than is wanted.
MARGIN = 0.005
# More than that was measured, too, but not on enough queries to promise it.
MOST = 0.999


def reaches(found: float, wanted: float) -> bool:
    """Whether a measured recall is enough: it is larger by a margin, or the most that is promised."""
    return found >= max(wanted, min(wanted + MARGIN, MOST))


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

    def reaches(self, wanted: float) -> bool:
        """Whether queries of both kinds find enough."""
        return reaches(self.texts, wanted) and reaches(self.images, wanted)


@dataclass(frozen=True)
class Family:
    """What was measured of a family, on so many ``vectors``; of Flat nothing has to be."""

    vectors: int
    rungs: tuple[Rung, ...]


FAMILIES: dict[str, Family] = {
    "Flat": Family(1_000_000, (Rung(1.0, 1.0, 0),)),
    "SQfp16": Family(1_000_000, (Rung(0.999, 0.999, 40),)),
    "SQ8": Family(1_000_000, (Rung(0.999, 0.999, 40),)),
    "IVF*,SQ8": Family(
        1_000_000,
        (
            Rung(0.960, 0.999, 40, 1),
            Rung(0.982, 0.999, 40, 2),
            Rung(0.993, 0.999, 40, 4),
            Rung(0.998, 0.999, 40, 8),
        ),
    ),
    "IVF*,PQD/2x4fsr": Family(
        1_000_000,
        (
            Rung(0.953, 0.932, 100, 1),
            Rung(0.960, 0.987, 400, 1),
            Rung(0.972, 0.932, 100, 2),
            Rung(0.981, 0.987, 400, 2),
            Rung(0.980, 0.931, 100, 4),
            Rung(0.991, 0.987, 400, 4),
            Rung(0.983, 0.932, 100, 8),
            Rung(0.996, 0.987, 400, 8),
        ),
    ),
    "IVF*,PQD/4x4fsr": Family(
        1_000_000,
        (
            Rung(0.936, 0.917, 400, 1),
            Rung(0.954, 0.966, 1000, 1),
            Rung(0.946, 0.916, 400, 2),
            Rung(0.971, 0.965, 1000, 2),
            Rung(0.950, 0.916, 400, 4),
            Rung(0.977, 0.964, 1000, 4),
            Rung(0.950, 0.916, 400, 8),
            Rung(0.977, 0.964, 1000, 8),
        ),
    ),
    "IVF*,PQD/8x4fsr": Family(
        1_000_000,
        (
            Rung(0.920, 0.931, 1000, 1),
            Rung(0.945, 0.967, 2000, 1),
            Rung(0.927, 0.928, 1000, 2),
            Rung(0.956, 0.966, 2000, 2),
            Rung(0.929, 0.927, 1000, 4),
            Rung(0.958, 0.965, 2000, 4),
            Rung(0.928, 0.927, 1000, 8),
            Rung(0.958, 0.965, 2000, 8),
        ),
    ),
    "RRD,IVF*,RaBitQfs": Family(
        1_000_000,
        (
            Rung(0.937, 0.999, 400, 1),
            Rung(0.955, 0.999, 1000, 1),
            Rung(0.958, 0.999, 2000, 1),
            Rung(0.954, 0.999, 400, 2),
            Rung(0.977, 0.999, 1000, 2),
            Rung(0.980, 0.999, 2000, 2),
            Rung(0.962, 0.999, 400, 4),
            Rung(0.984, 0.999, 1000, 4),
            Rung(0.990, 0.999, 2000, 4),
            Rung(0.967, 0.999, 400, 8),
            Rung(0.990, 0.999, 1000, 8),
            Rung(0.995, 0.999, 2000, 8),
        ),
    ),
    # Not HNSW32: with a list of 512 it finds 0.853 for texts, and takes longer than its formula says.
}
