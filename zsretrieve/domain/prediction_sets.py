"""Sets of classes that hold the true one with a stated coverage, as values that travel through every floor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from zsretrieve.domain.arguments import Between, Seed, check_fields
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.intervals import Interval
from zsretrieve.domain.plain import Result

MEASURES = ("lac", "aps")


@dataclass(frozen=True)
class Coverage:
    """Answer with a set of classes that holds the true one of this fraction of the images.

    Parameters
    ----------
    wanted : float
        Between 0 and 1.
    by : str
        ``lac`` for the smallest sets on average (one minus the probability of the class), ``aps`` for sets that grow
        more where the model is less certain (the sum of the probabilities down to the class).
    seed : int
        Draws the half of the images that calibrates, where there are no others.

    Raises
    ------
    UsageError
        If a value is out of range.
    """

    wanted: Annotated[float, Between(0, 1)] = 0.9
    by: str = "lac"
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.wanted < 1:
            raise UsageError(f"the coverage must be between 0 and 1, got {self.wanted:g}", hint="Give 0.9 for 90 %.")
        if self.by not in MEASURES:
            raise UsageError(f"'{self.by}' is not a measure of prediction sets", hint=f"Use {' or '.join(MEASURES)}.")

    def rank(self, n: int) -> int:
        """Which of the scores of n calibration images, from the least, is the threshold: ``ceil((n + 1) * wanted)``.

        Raises SourceError if there are too few images, so that every set would hold all classes.
        """
        # Without the rounding error of the product, by which 0.55 * 100 is more than 55.
        rank = math.ceil(round((n + 1) * self.wanted, 9))
        if rank > n:
            least = math.ceil(round(self.wanted / (1 - self.wanted), 9))
            raise SourceError(
                f"{n} images are too few to calibrate a coverage of {self.wanted:g}: at least {least} are needed",
                hint="Calibrate on more labelled images, or lower the coverage.",
            )
        return rank


@dataclass(frozen=True)
class SetThreshold(Result):
    """What a class must not exceed to be in a set, calibrated on ``n_calibration`` labelled images."""

    wanted: float
    by: str
    threshold: float
    n_calibration: int


@dataclass(frozen=True)
class SetReport(Result):
    """Prediction sets of labelled images that did not calibrate them.

    Attributes
    ----------
    calibrated : SetThreshold
    n_scored, n_covered : int
        Images, and those whose set holds the true class.
    interval : Interval
        Of the fraction covered (Wilson).
    expected_interval : Interval
        Where the fraction covered is expected, since chance draws both the images that calibrate and those that are
        scored.
    mean_size : float
        Classes per set.
    n_empty : int
        Images whose every class exceeds the threshold.
    sizes : dict of int to int
        Images by the size of their set.
    """

    calibrated: SetThreshold
    n_scored: int
    n_covered: int
    interval: Interval
    expected_interval: Interval
    mean_size: float
    n_empty: int
    sizes: dict[int, int]

    @property
    def covered(self) -> float:
        return self.n_covered / self.n_scored

    def to_dict(self) -> dict[str, object]:
        """Its fields, with those of ``calibrated`` beside them."""
        content = super().to_dict()
        return {**content.pop("calibrated"), **content, "covered": self.covered}
