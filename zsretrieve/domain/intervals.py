"""Confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

from zsretrieve.domain.plain import Result


@dataclass(frozen=True)
class Interval(Result):
    """A confidence interval; ``level`` is its confidence."""

    low: float
    high: float
    level: float = 0.95
