"""The figures of an evaluation, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zsretrieve.cli import output

if TYPE_CHECKING:
    from zsretrieve.results import Calibration, Confusion, EvalReport, Interval, Rejection, Retrieval

_SHOWN_CONFUSIONS = 10
_ALWAYS = (1, 5)


def as_json(report: EvalReport) -> dict[str, Any]:
    """All figures of a report; rates are fractions, intervals are [low, high]."""
    ranks = sorted({*_ALWAYS, *report.prec_at})
    calibration = report.calibration
    return {
        **{f"prec@{k}": report.prec_at.get(k) for k in ranks},  # null where there are fewer classes, or not asked for
        **{f"prec@{k}_interval": _ends(report.prec_interval.get(k)) for k in ranks},
        "mean_per_class_recall": report.mean_per_class_recall,
        "mean_per_class_recall_interval": _ends(report.mean_interval),
        "n_correct": report.n_correct,
        "n_scored": report.n_scored,
        "n_skipped": len(report.skipped),
        "n_unlabelled": report.unlabelled,
        "n_classes": report.n_classes,
        "n_classes_scored": len(report.per_class),
        "model": report.model,
        "templates": report.templates,
        "where": report.where,
        "n_drawn": report.n_drawn,
        "shots_included": report.shots_included,
        "n_tied": report.n_tied,
        "merged": None
        if report.merged is None
        else {
            "prec@1": report.merged.prec_at_1,
            "interval": _ends(report.merged.interval),
            "n_correct": report.merged.n_correct,
            "names": list(report.merged.names),
        },
        "calibration": None if calibration is None else asdict(calibration),
        "rejection": None if report.rejection is None else _rejection(report.rejection),
        "retrieval": None if report.retrieval is None else _retrieval(report.retrieval),
        "coverage": {by: [asdict(point) for point in points] for by, points in report.coverage.items()},
        "per_class": [
            {
                "class_id": c.class_id,
                "class_name": c.class_name,
                "n_scored": c.n_scored,
                "n_correct": c.n_correct,
                "recall": c.recall,
                "interval": _ends(_interval(c.n_correct, c.n_scored)),
            }
            for c in report.per_class
        ],
        "confusions": [
            {
                "true": c.true_class,
                "predicted": c.predicted_class,
                "count": c.count,
                "true_id": c.true_id,
                "predicted_id": c.predicted_id,
            }
            for c in report.confusions
        ],
    }


def show(report: EvalReport, *, per_class: bool = False) -> None:
    """The figures as tables; with ``per_class`` that of all classes in place of the most frequent confusions."""
    figures = output.table("figure", "value", "95 % interval", "of", right=("value",))
    n = report.n_scored
    for k, value in report.prec_at.items():
        figures.add_row(
            f"Prec@{k}", output.percent(value), between(report.prec_interval[k]), f"{round(value * n)} / {n} images"
        )
    if (merged := report.merged) is not None:
        count = len(merged.names)
        figures.add_row(
            "Prec@1, equal names as one", output.percent(merged.prec_at_1), between(merged.interval),
            f"{merged.n_correct} / {n} images; {count} name{'' if count == 1 else 's'} of several classes",
        )  # fmt: skip
    figures.add_row(
        "mean per-class recall", output.percent(report.mean_per_class_recall), between(report.mean_interval),
        f"{len(report.per_class)} of {report.n_classes} classes occur",
    )  # fmt: skip
    if (calibration := report.calibration) is not None:
        figures.add_row("calibration error", output.percent(calibration.error), "", _scales(calibration))
    if (told := report.rejection) is not None:
        figures.add_row("answered", output.percent(told.coverage), "", _threshold(told, n))
        if told.precision is not None and told.interval is not None:
            figures.add_row(
                "precision of answers", output.percent(told.precision), between(told.interval),
                f"{told.n_correct} / {told.n_answered} answered images",
            )  # fmt: skip
    of_all = "could not be read" if report.where is None else "of the whole gallery could not be read"
    figures.add_row("skipped", str(len(report.skipped)), "", of_all)
    if report.n_tied:
        figures.add_row("tied", str(report.n_tied), "", "their best score is that of several classes, the first counts")
    if report.n_drawn:
        scored = "they trained the prototypes, and are scored" if report.shots_included else "they trained, not scored"
        figures.add_row("drawn", str(report.n_drawn), "", scored)
    if report.unlabelled:
        figures.add_row("unlabelled", str(report.unlabelled), "", "not scored")
    title = f"{report.model}, templates: {report.templates}"
    output.show(figures, title if report.where is None else f"{title}, only images where {report.where}")
    if report.retrieval is not None:
        _show_retrieval(report.retrieval)
    if per_class:
        _show_classes(report)
    elif report.confusions:
        wrong = output.table("true class", "taken for", "images", right=("images",))
        for confusion in report.confusions[:_SHOWN_CONFUSIONS]:
            wrong.add_row(output.cell(confusion.true_class), output.cell(_other(confusion)), str(confusion.count))
        output.show(wrong, "most frequent confusions")


def between(interval: Interval) -> str:
    """An interval of a rate in percent."""
    return f"{100 * interval.low:.2f} - {100 * interval.high:.2f} %"


def _other(confusion: Confusion) -> str:
    """The class that was given; by its number too where it has the name of the true one."""
    same = confusion.true_class == confusion.predicted_class
    return f"{confusion.predicted_class} #{confusion.predicted_id}" if same else confusion.predicted_class


def _show_classes(report: EvalReport) -> None:
    most: dict[int, str] = {}
    for confusion in report.confusions:
        most.setdefault(confusion.true_id, f"{_other(confusion)} ({confusion.count})")
    table = output.table("class", "recall", "95 % interval", "right", "most often taken for", right=("recall", "right"))
    for one in sorted(report.per_class, key=lambda c: (c.recall, c.class_id)):
        table.add_row(
            output.cell(one.class_name), output.percent(one.recall), between(_interval(one.n_correct, one.n_scored)),
            f"{one.n_correct} / {one.n_scored}", output.cell(most.get(one.class_id, "")),
        )  # fmt: skip
    output.show(table, "all classes that occur, worst first")


def _show_retrieval(found: Retrieval) -> None:
    table = output.table("each class as a query", "mean", "95 % interval", right=("mean",))
    table.add_row("average precision", output.percent(found.mean_average_precision), between(found.interval))
    for k, value in found.precision_at.items():
        table.add_row(f"precision@{k}", output.percent(value), "")
    for k, value in found.recall_at.items():
        table.add_row(f"recall@{k}", output.percent(value), "")
    output.show(table, f"images found by class, means over {len(found.per_class)} classes")


def _scales(found: Calibration) -> str:
    from zsretrieve.metrics import end_met

    scale = f"{found.fitted_scale:.4g}"
    fitted = {1: f"any scale from {scale} up", -1: f"any scale up to {scale}", 0: f"scale {scale}, fitted"}[
        end_met(found)
    ]
    some = "" if found.fitted_on is None else f" to {found.fitted_on} images"
    return f"{found.kind}, scale {found.scale:.4g}; {output.percent(found.fitted_error)} at {fitted}{some}"


def _threshold(told: Rejection, n: int) -> str:
    words = f"{told.n_answered} / {n} images, {told.by} of {told.threshold:.6g} or more"
    return words if told.wanted is None else f"{words}, for a precision of {100 * told.wanted:g} %"


def _rejection(told: Rejection) -> dict[str, Any]:
    return {**asdict(told), "interval": _ends(told.interval)}


def _retrieval(found: Retrieval) -> dict[str, Any]:
    return {
        "mean_average_precision": found.mean_average_precision,
        "interval": _ends(found.interval),
        "precision": {str(k): value for k, value in found.precision_at.items()},
        "recall": {str(k): value for k, value in found.recall_at.items()},
        "per_class": [
            {
                "class_id": one.class_id,
                "class_name": one.class_name,
                "n_relevant": one.n_relevant,
                "average_precision": one.average_precision,
                "precision": {str(k): value for k, value in one.precision_at.items()},
                "recall": {str(k): value for k, value in one.recall_at.items()},
            }
            for one in found.per_class
        ],
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _interval(n_correct: int, n: int) -> Interval:
    from zsretrieve.metrics import wilson

    return wilson(n_correct, n)
