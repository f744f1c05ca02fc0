"""Scores to figures: pure functions over arrays."""

from zsretrieve.metrics.front import front
from zsretrieve.metrics.heads import log_normaliser, probabilities
from zsretrieve.metrics.intervals import bootstrap_mean, paired_difference, wilson
from zsretrieve.metrics.ranked import hits_at, mean_per_class_recall, r_precision

__all__ = [
    "bootstrap_mean",
    "front",
    "hits_at",
    "log_normaliser",
    "mean_per_class_recall",
    "paired_difference",
    "probabilities",
    "r_precision",
    "wilson",
]
