"""Split conformal prediction: sets of classes with a stated coverage.

Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World; Angelopoulos and Bates 2021, arXiv 2107.07511.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.intervals import Interval
from zsretrieve.metrics.intervals import CONFIDENCE


def nonconformity(chances: NDArray[np.float64], by: str) -> NDArray[np.float64]:
    """How badly each class fits, from its probability among those of all classes.

    ``lac``, the least ambiguous set-valued classifier (Sadinle, Lei and Wasserman 2019, JASA 114, 223-234): one minus
    the probability. ``aps``, adaptive prediction sets (Romano, Sesia and Candes 2020, NeurIPS): the sum of the
    probabilities from the best class down to this one, without randomisation. Neither falls from a class to the next
    worse, so a set is the best classes up to some rank.

    Parameters
    ----------
    chances : float64 of shape (n, n_classes)
        Best class first.
    by : str
        ``lac`` or ``aps``.

    Returns
    -------
    float64 of shape (n, n_classes), ascending in each row
    """
    return np.cumsum(chances, axis=1) if by == "aps" else 1.0 - chances


def expected_coverage(rank: int, n: int, n_scored: int, confidence: float = CONFIDENCE) -> Interval:
    """Where the covered fraction of fresh images falls.

    With the ``rank``-th least of n calibration scores as the threshold, the coverage is distributed as Beta(rank, n + 1
    - rank), and the covered images among ``n_scored`` as the beta-binomial (Vovk 2012, ACML; Angelopoulos and Bates
    2021, section 3.2).
    """
    from scipy.stats import betabinom

    ends = betabinom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], n_scored, rank, n + 1 - rank) / n_scored
    return Interval(float(ends[0]), float(ends[1]), confidence)
