"""Whether anything in a gallery seems to match a text, judged by the best scores of texts that describe nothing in it.

These best scores are maxima, so the highest of them should follow a Gumbel distribution (Gumbel 1958, Statistics of
Extremes, chapter 5). The threshold is the score that a share of them reaches. Some of the texts may describe something
in the gallery after all, and reach more; so the threshold is at most what a Gumbel distribution that is fitted to the
lower half of the scores says, by least squares on probability paper.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.ports import TextEncoder
from zsretrieve.domain.ranking import rescored
from zsretrieve.domain.vectors import Scores
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.regions import RegionIndex

if TYPE_CHECKING:
    from zsretrieve.encoders.cache.vector_store import VectorFile

FALSE_ALARMS = 0.05
METHOD = "best scores of unrelated texts, Gumbel fit"


@dataclass(frozen=True)
class Calibration:
    """``threshold`` is the score that the best hit of a share ``false_alarms`` of unrelated texts reaches."""

    threshold: float
    false_alarms: float = FALSE_ALARMS
    method: str = METHOD


def calibration(
    gallery: Gallery, model: Model, texts: TextEncoder, *, cached: bool = True, whole: bool = False
) -> Calibration:
    """The calibration of a gallery for a model: made once for each content of the gallery, and then remembered.

    ``texts`` is what encodes texts with the model, as ``Model.texts`` gives it.
    With ``whole`` it is of whole images alone, whose best scores are lower than those of regions.
    With ``cached`` it is kept in the user's cache folder, so that neither a model nor a search is needed again.
    """
    encoding = model.load(gallery_space(model, gallery.manifest)).text_encoding if model.is_given else model.compute
    regions = None if whole else gallery.regions
    key = ("calibration", model.name, encoding, regions is None)
    known = gallery.memo.get(key)
    if not isinstance(known, Calibration):
        best = _best_scores(gallery, regions, texts, remembers=cached and not model.is_given)
        known = Calibration(threshold(best))
        gallery.memo[key] = known
    return known


def threshold(best: Scores, false_alarms: float = FALSE_ALARMS) -> float:
    """The score that the best hit of a share ``false_alarms`` of unrelated texts reaches.

    Parameters
    ----------
    best : float32 of shape (n,)
        The highest score of each of some texts, up to half of which may describe something in the gallery.
    """
    wide = best.astype(np.float64)
    reached = float(np.quantile(wide, 1 - false_alarms))
    return float(np.float32(min(reached, _gumbel(wide, false_alarms))))


def _gumbel(best: NDArray[np.float64], share: float) -> float:
    """The quantile ``1 - share`` of a Gumbel distribution, from the line through the lower half of the scores."""
    number = len(best)
    lower = np.sort(best)[: number // 2]
    # Hazen's plotting positions.
    places = -np.log(-np.log((np.arange(number // 2) + 0.5) / number))
    slope, location = np.polyfit(places, lower, 1)
    return float(location - slope * np.log(-np.log1p(-share)))


def _best_scores(gallery: Gallery, regions: RegionIndex | None, texts: TextEncoder, *, remembers: bool) -> Scores:
    from zsretrieve.gallery.unrelated import TEXTS

    vectors = texts.encode_texts(TEXTS)
    memory = best_scores() if remembers else None
    compared = b"" if regions is None else b"regions"
    key = hashlib.sha256(gallery.revision.encode() + compared + vectors.tobytes()).digest()
    known = None if memory is None else memory.recall([key], len(TEXTS)).get(key)
    if known is None:
        index = gallery.index if regions is None else regions
        fetch = gallery.index.stored if regions is None else regions.bundles
        known = rescored(vectors, index.search(vectors, 1)[1], fetch)[:, 0].copy()
        if memory is not None:
            memory.remember({key: known})
    return known


def best_scores() -> VectorFile | None:
    """The file of the best scores by gallery and model, half a kilobyte each; None without SQLite in Python."""
    try:
        from zsretrieve.encoders.cache.vector_store import VectorFile
    except ImportError:
        return None
    return VectorFile("matching.sqlite3", "scores", most=1_000)
