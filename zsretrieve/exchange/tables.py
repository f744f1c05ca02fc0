"""An evaluation as a folder of CSV files, for spreadsheets and other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.exchange.output import Kind, replacing
from zsretrieve.metrics import wilson
from zsretrieve.results import EvalReport, Run

_ALWAYS = ("figures.csv", "per_class.csv", "confusions.csv", "confusion_matrix.csv", "images.csv", "coverage.csv")
_SOMETIMES = ("calibration.csv", "retrieval.csv")

_Table = tuple[Sequence[str], Iterable[Sequence[Any]]]


def is_tables(path: Path) -> bool:
    """Whether a folder holds the files of ``write`` and no others."""
    names = {found.name for found in path.iterdir()} if path.is_dir() else set()
    return set(_ALWAYS) <= names <= {*_ALWAYS, *_SOMETIMES}


KIND = Kind(True, is_tables, "folder of tables")


def write(out: Path, run: Run, report: EvalReport, *, force: bool = False) -> None:
    """Write the folder beside its place and put it there when it is complete. Rates are fractions.

    Raises
    ------
    OutputExistsError
        If something is there, unless it is such a folder and ``force`` is given.
    IndexFolderError
        If the system refuses to write.
    """
    tables = {
        "figures.csv": _figures(report),
        "per_class.csv": _per_class(report),
        "confusions.csv": _confusions(report),
        "confusion_matrix.csv": _confusion_matrix(run),
        "images.csv": _images(run, report),
        "coverage.csv": _coverage(report),
    }
    if report.calibration is not None:
        tables["calibration.csv"] = _calibration(report)
    if report.retrieval is not None:
        tables["retrieval.csv"] = _retrieval(report)
    with replacing(out, KIND, force=force) as beside:
        beside.mkdir()
        for name, (header, rows) in tables.items():
            with open(beside / name, "w", newline="", encoding="utf-8", errors="backslashreplace") as handle:
                writer = csv.writer(handle, lineterminator="\n")
                writer.writerow(header)
                writer.writerows(rows)


def _figures(report: EvalReport) -> _Table:
    rows: list[Sequence[Any]] = [
        (f"prec@{k}", value, report.prec_interval[k].low, report.prec_interval[k].high, report.n_scored)
        for k, value in report.prec_at.items()
    ]
    n_classes = len(report.per_class)
    mean = report.mean_interval
    rows.append(("mean_per_class_recall", report.mean_per_class_recall, mean.low, mean.high, n_classes))
    if (merged := report.merged) is not None:
        rows.append(("prec@1_merged", merged.prec_at_1, merged.interval.low, merged.interval.high, report.n_scored))
    if (found := report.calibration) is not None:
        rows += [
            (name, value, "", "", report.n_scored)
            for name, value in (
                ("calibration_error", found.error),
                ("calibration_error_fitted", found.fitted_error),
                ("negative_log_likelihood", found.loss),
                ("negative_log_likelihood_fitted", found.fitted_loss),
            )
        ]
    if (told := report.rejection) is not None:
        interval = told.interval
        ends = ("", "") if interval is None else (interval.low, interval.high)
        rows.append(("coverage", told.coverage, "", "", report.n_scored))
        rows.append(("precision_of_answers", told.precision, *ends, told.n_answered))
    if (other := report.retrieval) is not None:
        mean = other.interval
        rows.append(("mean_average_precision", other.mean_average_precision, mean.low, mean.high, n_classes))
        for name, at in (("precision", other.precision_at), ("recall", other.recall_at)):
            rows += [(f"{name}@{k}", value, "", "", n_classes) for k, value in at.items()]
    counts = (
        ("skipped", len(report.skipped)),
        ("unlabelled", report.unlabelled),
        ("drawn", report.n_drawn),
        ("tied", report.n_tied),
    )
    rows += [(name, count, "", "", "") for name, count in counts]
    return ("figure", "value", "low", "high", "n"), rows


def _per_class(report: EvalReport) -> _Table:
    rows = (
        (one.class_id, one.class_name, one.n_scored, one.n_correct, one.recall, sure.low, sure.high)
        for one in report.per_class
        for sure in [wilson(one.n_correct, one.n_scored)]
    )
    return ("class_id", "class_name", "n_scored", "n_correct", "recall", "low", "high"), rows


def _confusions(report: EvalReport) -> _Table:
    rows = (
        (one.true_id, one.true_class, one.predicted_id, one.predicted_class, one.count) for one in report.confusions
    )
    return ("true_id", "true_class", "predicted_id", "predicted_class", "count"), rows


def _confusion_matrix(run: Run) -> _Table:
    """One line for each class that occurs, one column for each that there is; a line at a time is in memory."""

    def rows() -> Iterator[Sequence[Any]]:
        by_class = np.argsort(run.truth, kind="stable")
        classes, firsts = np.unique(run.truth[by_class], return_index=True)
        for class_id, mine in zip(classes, np.split(by_class, firsts[1:]), strict=True):
            counts = np.bincount(run.ranked[mine, 0], minlength=len(run.class_names))
            yield (int(class_id), run.class_names[class_id], *counts.tolist())

    # Two classes may share a name, but no two columns should.
    return ("true_id", "true_class", *(f"{number} {name}" for number, name in enumerate(run.class_names))), rows()


def _images(run: Run, report: EvalReport) -> _Table:
    header = [
        "path", "digest", "true_id", "true_class", "predicted_id", "predicted_class", "correct", "score",
        "probability", "margin",
    ]  # fmt: skip
    told, names = report.rejection, run.class_names
    if told is not None:
        header.append("rejected")
    columns = zip(
        run.paths, run.digests, run.truth.tolist(), run.ranked[:, 0].tolist(), run.correct.tolist(),
        run.scores[:, 0].tolist(), run.probabilities[:, 0].tolist(), run.margins.tolist(), strict=True,
    )  # fmt: skip

    def rows() -> Iterator[Sequence[Any]]:
        for path, digest, truth, said, correct, score, probability, margin in columns:
            row = [
                path, digest, truth, names[truth], said, names[said], int(correct), f"{score:.7f}", probability,
                f"{margin:.7f}",
            ]  # fmt: skip
            if told is not None:
                row.append(int((margin if told.by == "margin" else probability) < told.threshold))
            yield row

    return header, rows()


def _coverage(report: EvalReport) -> _Table:
    rows = (
        (by, point.threshold, point.coverage, point.accuracy, point.n_answered)
        for by, points in report.coverage.items()
        for point in points
    )
    return ("by", "threshold", "coverage", "accuracy", "n_answered"), rows


def _calibration(report: EvalReport) -> _Table:
    found = report.calibration
    assert found is not None
    rows = (
        (which, scale, one.low, one.high, one.n, one.mean_probability, one.accuracy)
        for which, scale, bins in (
            ("own", found.scale, found.bins),
            ("fitted", found.fitted_scale, found.fitted_bins),
        )
        for one in bins
    )
    return ("scale_is", "scale", "low", "high", "n", "mean_probability", "accuracy"), rows


def _retrieval(report: EvalReport) -> _Table:
    found = report.retrieval
    assert found is not None
    ks = list(found.precision_at)
    header = (
        "class_id", "class_name", "n_relevant", "average_precision",
        *(f"precision@{k}" for k in ks), *(f"recall@{k}" for k in ks),
    )  # fmt: skip
    rows = (
        (
            one.class_id, one.class_name, one.n_relevant, one.average_precision,
            *(one.precision_at[k] for k in ks), *(one.recall_at[k] for k in ks),
        )
        for one in found.per_class
    )  # fmt: skip
    return header, rows
