"""Maps: the images of a gallery as points in a plane, where neighbours are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.float32]
Contents = NDArray[np.bytes_]


@dataclass(frozen=True)
class Caption:
    """A label at the median of its ``n`` images."""

    label: str
    x: float
    y: float
    n: int


@dataclass(frozen=True, repr=False)
class Map:
    """Images of a gallery in the unit square; what is near there is alike, and distances between groups mean little.

    ``ids`` are int64 of shape (n,), ascending, and ``xy`` float32 of shape (n, 2), both axes in the same scale and y
    upwards. ``missing`` images of the gallery are not on the map, because they were added or changed after it was
    made. ``revision`` is the gallery's generation when the map was made, and ``method`` how. ``labels`` are the images'
    labels, None where there is none.
    """

    ids: NDArray[np.int64]
    xy: Places
    revision: int
    method: str
    missing: int = 0
    labels: tuple[str | None, ...] = ()

    @property
    def captions(self) -> tuple[Caption, ...]:
        """Where to write each label, most images first; empty without labels."""
        return captions_of(self.labels, self.xy)

    def to_dict(self) -> dict[str, Any]:
        """A summary, without the points."""
        return {
            "n": len(self.ids),
            "missing": self.missing,
            "revision": self.revision,
            "method": self.method,
            "captions": [vars(caption) for caption in self.captions],
        }

    def __repr__(self) -> str:
        return f"Map({len(self.ids)} images, {self.missing} missing, by {self.method})"


def captions_of(labels: Sequence[str | None], xy: Places) -> tuple[Caption, ...]:
    """The labels that there are, each at the median of its points, most points first."""
    numbers: dict[str, int] = {}
    of = np.array([-1 if label is None else numbers.setdefault(label, len(numbers)) for label in labels], np.int64)
    by_label = np.argsort(of, kind="stable")
    ends = np.searchsorted(of[by_label], np.arange(len(numbers)), side="right")
    starts = np.searchsorted(of[by_label], np.arange(len(numbers)), side="left")
    captions = []
    for label, start, end in zip(numbers, starts, ends, strict=True):
        x, y = np.median(xy[by_label[start:end]], axis=0).tolist()
        captions.append(Caption(label, x, y, int(end - start)))
    return tuple(sorted(captions, key=lambda caption: (-caption.n, caption.label)))
