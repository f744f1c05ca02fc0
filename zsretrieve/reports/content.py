"""The content of a report as JSON types: the figures of the evaluation, and what the page shows besides."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from zsretrieve.domain.plain import plain
from zsretrieve.domain.results import ClassScore, Confusion, EvalReport, Run
from zsretrieve.reports.advice import Asked, Case, advise
from zsretrieve.reports.choosing import Choice, Pair
from zsretrieve.reports.thumbnails import Thumbnail
from zsretrieve.system.version import tool_version

FORMAT, VERSION = "zsretrieve-report", 2

# The page lists no more than these; the command line writes all of them as CSV.
_CLASSES, _CONFUSIONS, _SKIPPED, _NAMES = 2000, 100, 50, 100
# This many classes with the highest recall, and with the lowest, are shown side by side.
FEW_CLASSES = 12


def as_content(
    report: EvalReport, choice: Choice, thumbnails: dict[str, Thumbnail], asked: Asked, made: str
) -> dict[str, Any]:
    """What the page shows except for the images; rates are fractions.

    The keys of ``EvalReport.to_dict``, with classes, confusions and retrieval cut to what fits on a page, and those of
    the page itself.

    Parameters
    ----------
    report : EvalReport
    choice : Choice
        The images that are shown.
    thumbnails : dict of path to Thumbnail
    asked : Asked
    made : str
        When.
    """
    run = report.run
    occurring = {score.class_id for score in report.per_class}
    empty = [name for class_id, name in enumerate(run.class_names) if class_id not in occurring]
    most_confused: dict[int, Confusion] = {}
    for confusion in report.confusions:
        most_confused.setdefault(confusion.true_id, confusion)
    # Of equal recalls those of more images come first: they are more certain to be low.
    ordered = sorted(report.per_class, key=lambda score: (score.recall, -score.n_scored, score.class_id))
    per_class = [_class(score, most_confused.get(score.class_id)) for score in ordered]
    problems = Counter(one.problem for one in thumbnails.values() if one.problem is not None)
    figures = report.to_dict()
    if report.retrieval is not None:
        lowest = sorted(report.retrieval.per_class, key=lambda one: (one.average_precision, one.class_id))
        figures["retrieval"] |= {"per_class": plain(lowest[:_CLASSES]), "n_classes": len(lowest)}
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "tool_version": tool_version(),
        "made": made,
        "asked": asdict(asked),
        **figures,
        "per_class": per_class[:_CLASSES],
        "highest": per_class[: -FEW_CLASSES - 1 : -1],
        "n_classes_left_out": max(0, len(per_class) - _CLASSES),
        "classes_without_images": empty[:_NAMES],
        "n_classes_without_images": len(empty),
        "confusions": figures["confusions"][:_CONFUSIONS],
        "n_confusions": len(report.confusions),
        "skipped": {
            "reasons": [
                {"reason": reason, "count": count}
                for reason, count in Counter(one.reason for one in report.skipped).most_common(_SKIPPED)
            ],
            "first": plain(report.skipped[:_SKIPPED]),
        },
        "advice": [asdict(advice) for advice in advise(Case(report, asked))],
        "pairs": [_pair(run, pair) for pair in choice.pairs],
        "mistakes": [_image(run, row) for row in choice.mistakes],
        "hits": [_image(run, row) for row in choice.hits],
        "images": {"n": len(thumbnails), "problems": dict(sorted(problems.items()))},
    }


def _class(score: ClassScore, confusion: Confusion | None) -> dict[str, Any]:
    return {
        **score.to_dict(),
        "taken_for": None if confusion is None else confusion.predicted_class,
        "taken_for_count": 0 if confusion is None else confusion.count,
    }


def _pair(run: Run, pair: Pair) -> dict[str, Any]:
    confusion = pair.confusion
    return {
        **confusion.to_dict(),
        "n_true": int((run.truth == confusion.true_id).sum()),
        "n_back": int(((run.truth == confusion.predicted_id) & (run.ranked[:, 0] == confusion.true_id)).sum()),
        "taken": [_image(run, row) for row in pair.taken],
        "of_other": [_image(run, row) for row in pair.of_other],
    }


def _image(run: Run, row: int) -> dict[str, Any]:
    truth, best = int(run.truth[row]), int(run.ranked[row, 0])
    n_ranked = run.ranked.shape[1]
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
        "margin": float(run.scores[row, 0]) - float(run.scores[row, 1]) if n_ranked > 1 else None,
        "second_class": run.class_names[run.ranked[row, 1]] if n_ranked > 1 else None,
        "true_rank": rank,
        "true_probability": None if rank is None else float(run.probabilities[row, rank - 1]),
        "n_ranked": n_ranked,
    }
