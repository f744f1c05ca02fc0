"""Which images are answered with "unknown"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsretrieve.errors import RankError
from zsretrieve.metrics import coverage_curve, rejection, threshold_for
from zsretrieve.results import Reject, Rejection, Run

WAYS = ("probability", "margin")
# Scores are from -1 to 1.
_MOST = {"probability": 1, "margin": 2}


def check(reject: Reject) -> None:
    """Raise RankError unless it says by what and either a threshold or a wanted precision."""
    if reject.by not in WAYS:
        raise RankError(
            f"images cannot be rejected by '{reject.by}'", hint=f"Reject them by one of: {', '.join(WAYS)}."
        )
    if (reject.below is None) == (reject.wanted is None):
        raise RankError("either a threshold or a wanted precision rejects images", hint="Give one of the two.")
    most = _MOST[reject.by]
    if reject.below is not None and not 0 <= reject.below <= most:
        raise RankError(f"the threshold {reject.below:g} is no {reject.by}", hint=f"Give a number from 0 to {most}.")
    if reject.wanted is not None and not 0 < reject.wanted <= 1:
        raise RankError(
            f"the wanted precision {reject.wanted} is no fraction", hint="Give a number above 0 and at most 1."
        )


def confidence(run: Run, by: str) -> NDArray[np.float64]:
    """How sure of its best class a run is, by ``probability`` or ``margin``, float64 of shape (n,)."""
    return run.margins if by == "margin" else run.probabilities[:, 0]


def rejected(run: Run, reject: Reject) -> Rejection:
    """What is answered, and right. Raises RankError if no threshold reaches the precision that is wanted."""
    check(reject)
    sure, correct = confidence(run, reject.by), run.correct
    threshold = reject.below if reject.wanted is None else threshold_for(sure, correct, reject.wanted)
    if threshold is None:
        best = max(coverage_curve(sure, correct, len(sure)), key=lambda point: point.accuracy)
        raise RankError(
            f"no threshold on the {reject.by} makes {100 * (reject.wanted or 0):g} % of the answers right; "
            f"the best is {100 * best.accuracy:.2f} % of {best.n_answered}, from {best.threshold:.6g} on",
            hint="Want less, or reject by the other way.",
        )
    return rejection(sure, correct, threshold, by=reject.by, wanted=reject.wanted)
