"""Groups of images that are in a gallery more than once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from zsretrieve.domain.plain import Result, shortest


class DuplicateKind(StrEnum):
    """Why images form a group: their files are equal, or their vectors are near."""

    EXACT = "exact"
    NEAR = "near"


@dataclass(frozen=True)
class Duplicate(Result):
    """One image of a group; ``score`` is its cosine similarity to the image to keep."""

    id: int
    path: str
    score: float
    digest: str

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "score": shortest(self.score)}


@dataclass(frozen=True)
class DuplicateGroup(Result):
    """Images that show the same: first the one to keep, then the others in the order of the gallery.

    ``lowest_score`` is the lowest of their scores, and ``keep`` the ID of the first.
    """

    kind: DuplicateKind
    lowest_score: float
    keep: int
    items: tuple[Duplicate, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "lowest_score": shortest(self.lowest_score)}
