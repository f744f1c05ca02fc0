"""Everything that a report holds, as what JSON has words for."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from zsretrieve.metrics import end_met, wilson
from zsretrieve.records import Skipped
from zsretrieve.reports.advice import Asked, Case, advise
from zsretrieve.reports.choosing import Choice, Pair
from zsretrieve.reports.thumbnails import Thumbnail
from zsretrieve.results import Confusion, EvalReport, Run
from zsretrieve.version import tool_version

FORMAT, VERSION = "zsretrieve-report", 1

# The page lists no more than these; the command line writes all of them as CSV.
_CLASSES, _CONFUSIONS, _SKIPPED, _NAMES = 2000, 100, 50, 100
# So many classes of highest recall, and of lowest, stand beside each other.
FEW_CLASSES = 12


def as_content(
    run: Run, report: EvalReport, choice: Choice, pictures: dict[str, Thumbnail], asked: Asked, made: str
) -> dict[str, Any]:
    """What the page shows, but for the pictures themselves; rates are fractions, and what is no number is null.

    Parameters
    ----------
    run : Run
    report : EvalReport
        Of that run.
    choice : Choice
        The images that are shown.
    pictures : dict of path to Thumbnail
    asked : Asked
    made : str
        When.
    """
    occurring = {score.class_id for score in report.per_class}
    empty = [name for class_id, name in enumerate(run.class_names) if class_id not in occurring]
    per_class = _per_class(report)
    problems = Counter(made.problem for made in pictures.values() if made.problem is not None)
    content = {
        "format": FORMAT,
        "format_version": VERSION,
        "tool_version": tool_version(),
        "made": made,
        "asked": asdict(asked),
        "model": report.model,
        "templates": report.templates,
        "where": report.where,
        "figures": _figures(report),
        "advice": [asdict(advice) for advice in advise(Case(report, run.class_names, asked))],
        "per_class": per_class[:_CLASSES],
        "highest": per_class[: -FEW_CLASSES - 1 : -1],
        "n_classes_left_out": max(0, len(report.per_class) - _CLASSES),
        "classes_without_images": empty[:_NAMES],
        "n_classes_without_images": len(empty),
        "confusions": [asdict(confusion) for confusion in report.confusions[:_CONFUSIONS]],
        "n_confusions": len(report.confusions),
        "calibration": None
        if report.calibration is None
        else {**asdict(report.calibration), "end_met": end_met(report.calibration)},
        "coverage": {by: [asdict(point) for point in curve] for by, curve in report.coverage.items()},
        "rejection": None if report.rejection is None else asdict(report.rejection),
        "retrieval": _retrieval(report),
        "skipped": _skipped(report.skipped),
        "pairs": [_pair(run, pair) for pair in choice.pairs],
        "mistakes": [_image(run, row) for row in choice.mistakes],
        "hits": [_image(run, row) for row in choice.hits],
        "pictures": {"n": len(pictures), "problems": dict(sorted(problems.items()))},
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _figures(report: EvalReport) -> dict[str, Any]:
    return {
        "n_scored": report.n_scored,
        "n_correct": report.n_correct,
        "n_skipped": len(report.skipped),
        "n_unlabelled": report.unlabelled,
        "n_drawn": report.n_drawn,
        "n_tied": report.n_tied,
        "shots_included": report.shots_included,
        "n_classes": report.n_classes,
        "n_classes_scored": len(report.per_class),
        "prec_at": [
            {
                "k": k,
                "value": value,
                "n_correct": round(value * report.n_scored),
                "interval": asdict(report.prec_interval[k]),
            }
            for k, value in sorted(report.prec_at.items())
        ],
        "mean_per_class_recall": report.mean_per_class_recall,
        "mean_interval": asdict(report.mean_interval),
        "merged": None if report.merged is None else asdict(report.merged),
    }


def _per_class(report: EvalReport) -> list[dict[str, Any]]:
    """The lowest recall first; of equal ones those with more images, which are surer to be low."""
    most: dict[int, Confusion] = {}
    for confusion in report.confusions:
        most.setdefault(confusion.true_id, confusion)
    ordered = sorted(report.per_class, key=lambda score: (score.recall, -score.n_scored, score.class_id))
    return [
        {
            "class_id": score.class_id,
            "class_name": score.class_name,
            "n_scored": score.n_scored,
            "n_correct": score.n_correct,
            "recall": score.recall,
            "interval": asdict(wilson(score.n_correct, score.n_scored)),
            "taken_for": None if (other := most.get(score.class_id)) is None else other.predicted_class,
            "taken_for_count": 0 if other is None else other.count,
        }
        for score in ordered
    ]


def _retrieval(report: EvalReport) -> dict[str, Any] | None:
    found = report.retrieval
    if found is None:
        return None
    per_class = sorted(found.per_class, key=lambda one: (one.average_precision, one.class_id))
    return {
        "mean_average_precision": found.mean_average_precision,
        "interval": asdict(found.interval),
        "at": [
            {"k": k, "precision": found.precision_at[k], "recall": found.recall_at.get(k)}
            for k in sorted(found.precision_at)
        ],
        "n_classes": len(found.per_class),
        "lowest": [
            {"class_name": one.class_name, "average_precision": one.average_precision, "n_relevant": one.n_relevant}
            for one in per_class[:_SKIPPED]
        ],
    }


def _skipped(skipped: tuple[Skipped, ...]) -> dict[str, Any]:
    reasons = Counter(one.reason for one in skipped)
    return {
        "reasons": [{"reason": reason, "count": count} for reason, count in reasons.most_common(_SKIPPED)],
        "first": [asdict(one) for one in skipped[:_SKIPPED]],
    }


def _pair(run: Run, pair: Pair) -> dict[str, Any]:
    confusion = pair.confusion
    return {
        **asdict(confusion),
        "n_true": int((run.truth == confusion.true_id).sum()),
        "n_back": int(((run.truth == confusion.predicted_id) & (run.ranked[:, 0] == confusion.true_id)).sum()),
        "taken": [_image(run, row) for row in pair.taken],
        "of_other": [_image(run, row) for row in pair.of_other],
    }


def _image(run: Run, row: int) -> dict[str, Any]:
    truth, best = int(run.truth[row]), int(run.ranked[row, 0])
    several = run.ranked.shape[1] > 1
    at = np.flatnonzero(run.ranked[row] == truth)
    rank = int(at[0]) + 1 if len(at) else None
    return {
        "path": run.paths[row],
        "true_id": truth,
        "true_class": run.class_names[truth],
        "predicted_id": best,
        "predicted_class": run.class_names[best],
        "probability": float(run.probabilities[row, 0]),
        "score": float(run.scores[row, 0]),
        "margin": float(run.scores[row, 0]) - float(run.scores[row, 1]) if several else None,
        "second_class": run.class_names[int(run.ranked[row, 1])] if several else None,
        "true_rank": rank,
        "true_probability": None if rank is None else float(run.probabilities[row, rank - 1]),
        "n_ranked": run.ranked.shape[1],
    }


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, numbers that JSON cannot write as null."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
