"""The results of comparing two runs image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zsretrieve.domain.plain import Result, Table
from zsretrieve.domain.results import Interval, PairedDifference


@dataclass(frozen=True)
class ClassChange(Result):
    """How many of a class's ``n`` images each of two ways gets right."""

    class_id: int
    class_name: str
    n: int
    first_correct: int
    second_correct: int

    @property
    def change(self) -> float:
        """The recall of the second minus that of the first."""
        return (self.second_correct - self.first_correct) / self.n

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "change": self.change}


@dataclass(frozen=True)
class Flip(Result):
    """An image that only one of two ways gets right: ``won`` if it is the second."""

    path: str
    true_class: str
    first_class: str
    second_class: str
    won: bool


@dataclass(frozen=True)
class Side(Result):
    """One of two ways, on the images that both have scored."""

    model: str
    templates: str
    n_correct: int
    prec_at_1: float
    interval: Interval
    n_left_out: int

    _keys: ClassVar[Mapping[str, str]] = {"prec_at_1": "prec@1"}


@dataclass(frozen=True)
class Comparison(Result, Table):
    """Two runs on the same images.

    Attributes
    ----------
    n : int
        Images that both have scored; each side counts those that only it has, which are left out.
    matched_by : str
        ``digest``, or ``path`` if a run lacks some digests.
    first, second : Side
    difference : PairedDifference
    both_right, both_wrong : int
    won, lost : tuple of ClassChange
        The classes of which the second gets more right, or fewer; the largest change of recall first.
    n_unchanged : int
        Classes that occur and are neither.
    flips : tuple of Flip
        In the order of the first run.
    """

    n: int
    matched_by: str
    first: Side
    second: Side
    difference: PairedDifference
    both_right: int
    both_wrong: int
    won: tuple[ClassChange, ...]
    lost: tuple[ClassChange, ...]
    n_unchanged: int
    flips: tuple[Flip, ...]

    _keys: ClassVar[Mapping[str, str]] = {"n_unchanged": "n_classes_unchanged"}

    def __repr__(self) -> str:
        ends = self.difference.interval
        points = " to ".join(f"{100 * end:+.2f}" for end in (ends.low, ends.high))
        return f"Comparison({100 * self.difference.difference:+.2f} points ({points}) on {self.n} images)"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each image that only one of the two gets right."""
        return [flip.to_dict() for flip in self.flips]

    def to_dict(self) -> dict[str, Any]:
        """Its fields, with those of ``difference`` beside them."""
        return {**super().to_dict(), **self.difference.to_dict()}


@dataclass(frozen=True)
class GroupDraw(Result):
    """A group of ``n`` images, of which ``n_drawn`` are nearest to an added class; ``drawn_by`` counts them by class.

    ``interval`` is that of the fraction drawn.
    """

    group: str | None
    n: int
    n_drawn: int
    interval: Interval
    drawn_by: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "drawn": self.n_drawn / self.n}


@dataclass(frozen=True)
class ClassSetComparison(Result):
    """Two sets of classes on the same images: which groups of images the classes draw that only the second set has.

    ``p_value`` is that of the chi-squared test that all groups are drawn equally often; None if there is one group, or
    all or none of the images are drawn.
    """

    column: str
    added: tuple[str, ...]
    left_out: tuple[str, ...]
    n: int
    groups: tuple[GroupDraw, ...]
    p_value: float | None
