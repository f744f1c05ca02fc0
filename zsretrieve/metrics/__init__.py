"""Figures and their intervals: pure functions over arrays."""

from zsretrieve.metrics.calibration import (
    expected_calibration_error,
    fit_sigmoid_scale,
    fit_softmax_scale,
    reliability,
    sigmoid_loss,
    softmax_loss,
)
from zsretrieve.metrics.conformal import expected_coverage, nonconformity
from zsretrieve.metrics.coverage import coverage_curve, rejection, threshold_for
from zsretrieve.metrics.heads import log_normaliser, probabilities
from zsretrieve.metrics.intervals import bootstrap_mean, paired_difference, wilson
from zsretrieve.metrics.pareto import pareto_front
from zsretrieve.metrics.ranked import hits_at, mean_per_class_recall, r_precision
from zsretrieve.metrics.retrieval import average_precision, places_of, precision_at, recall_at

__all__ = [
    "average_precision",
    "bootstrap_mean",
    "coverage_curve",
    "expected_calibration_error",
    "expected_coverage",
    "fit_sigmoid_scale",
    "fit_softmax_scale",
    "hits_at",
    "log_normaliser",
    "mean_per_class_recall",
    "nonconformity",
    "paired_difference",
    "pareto_front",
    "places_of",
    "precision_at",
    "probabilities",
    "r_precision",
    "recall_at",
    "rejection",
    "reliability",
    "sigmoid_loss",
    "softmax_loss",
    "threshold_for",
    "wilson",
]
