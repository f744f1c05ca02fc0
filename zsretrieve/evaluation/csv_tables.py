"""An evaluation as a folder of CSV files, for spreadsheets and other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.domain.plain import flat
from zsretrieve.domain.results import EvalReport, Interval
from zsretrieve.system.atomic import OutputKind, replacing

_ALWAYS = ("figures.csv", "per_class.csv", "confusions.csv", "confusion_matrix.csv", "images.csv", "coverage.csv")
_SOMETIMES = ("calibration.csv", "retrieval.csv")

_Row = dict[str, Any]
_Table = tuple[Sequence[str], Iterable[Sequence[Any]]]


def is_tables(path: Path) -> bool:
    """Whether a folder holds the files of ``write`` and no others."""
    names = {file.name for file in path.iterdir()} if path.is_dir() else set()
    return set(_ALWAYS) <= names <= {*_ALWAYS, *_SOMETIMES}


KIND = OutputKind(True, is_tables, "folder of tables")


def write(out: Path, report: EvalReport, *, force: bool = False) -> None:
    """Write the folder beside its place and rename it once complete. Rates are fractions.

    Raises
    ------
    OutputExistsError
        If something is there, unless it is such a folder and ``force`` is given.
    IndexFolderError
        If the system refuses to write.
    """
    content = report.to_dict()
    tables = {
        "figures.csv": _table([flat(row) for row in _figures(report)]),
        "per_class.csv": _table([flat(row) for row in content["per_class"]]),
        "confusions.csv": (
            ("true_id", "true_class", "predicted_id", "predicted_class", "count"),
            ((c.true_id, c.true_class, c.predicted_id, c.predicted_class, c.count) for c in report.confusions),
        ),
        "confusion_matrix.csv": _confusion_matrix(report),
        "images.csv": _images(report),
        "coverage.csv": _table([{"by": by, **row} for by, curve in content["coverage"].items() for row in curve]),
    }
    if report.calibration is not None:
        tables["calibration.csv"] = _table(_calibration(content["calibration"]))
    if report.retrieval is not None:
        tables["retrieval.csv"] = _table([_at_k(row) for row in content["retrieval"]["per_class"]])
    with replacing(out, KIND, force=force) as beside:
        beside.mkdir()
        for name, (header, rows) in tables.items():
            with open(beside / name, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(header)
                writer.writerows(rows)


def _table(rows: list[_Row]) -> _Table:
    return list(rows[0]), (list(row.values()) for row in rows)


def _figures(report: EvalReport) -> Iterator[_Row]:
    """Every figure with its interval and the number that it is a rate of, None where there is none."""

    def figure(name: str, value: float | None, interval: Interval | None = None, n: int | None = None) -> _Row:
        return {"figure": name, "value": value, "interval": interval and interval.to_dict(), "n": n}

    n, n_classes = report.n_scored, len(report.per_class)
    for k, value in report.prec_at.items():
        yield figure(f"prec@{k}", value, report.prec_interval[k], n)
    yield figure("mean_per_class_recall", report.mean_per_class_recall, report.mean_interval, n_classes)
    if (merged := report.merged) is not None:
        yield figure("prec@1_merged", merged.prec_at_1, merged.interval, n)
    if (calibration := report.calibration) is not None:
        yield figure("calibration_error", calibration.error, n=n)
        yield figure("calibration_error_fitted", calibration.fitted_error, n=n)
        yield figure("negative_log_likelihood", calibration.loss, n=n)
        yield figure("negative_log_likelihood_fitted", calibration.fitted_loss, n=n)
    if (rejection := report.rejection) is not None:
        yield figure("coverage", rejection.coverage, n=n)
        yield figure("precision_of_answers", rejection.precision, rejection.interval, rejection.n_answered)
    if (retrieval := report.retrieval) is not None:
        yield figure("mean_average_precision", retrieval.mean_average_precision, retrieval.interval, n_classes)
        for name, at in (("precision", retrieval.precision_at), ("recall", retrieval.recall_at)):
            for k, value in at.items():
                yield figure(f"{name}@{k}", value, n=n_classes)
    yield figure("skipped", len(report.skipped))
    yield figure("unlabelled", report.unlabelled)
    yield figure("labels_as_numbers", report.n_by_number)
    yield figure("drawn", report.n_drawn)
    yield figure("tied", report.n_tied)


def _confusion_matrix(report: EvalReport) -> _Table:
    """One line for each class that occurs, one column for each class; only one line at a time is in memory."""
    run = report.run

    def rows() -> Iterator[Sequence[Any]]:
        by_class = np.argsort(run.truth, kind="stable")
        classes, firsts = np.unique(run.truth[by_class], return_index=True)
        for class_id, images in zip(classes, np.split(by_class, firsts[1:]), strict=True):
            counts = np.bincount(run.ranked[images, 0], minlength=len(run.class_names))
            yield (int(class_id), run.class_names[class_id], *counts.tolist())

    # Two classes may share a name, but no two columns should.
    return ("true_id", "true_class", *(f"{number} {name}" for number, name in enumerate(run.class_names))), rows()


def _images(report: EvalReport) -> _Table:
    run, names, rejection = report.run, report.run.class_names, report.rejection
    header = (
        "path", "digest", "true_id", "true_class", "predicted_id", "predicted_class", "correct", "score",
        "probability", "margin", *(() if rejection is None else ("rejected",)),
    )  # fmt: skip
    columns: list[Sequence[Any]] = [
        run.paths, run.digests, run.truth.tolist(), [names[c] for c in run.truth], run.ranked[:, 0].tolist(),
        [names[c] for c in run.ranked[:, 0]], run.correct.astype(int).tolist(),
        [f"{score:.7f}" for score in run.scores[:, 0]], run.probabilities[:, 0].tolist(),
        [f"{margin:.7f}" for margin in run.margins],
    ]  # fmt: skip
    if rejection is not None:
        columns.append((run.confidence(rejection.by) < rejection.threshold).astype(int).tolist())
    return header, zip(*columns, strict=True)


def _calibration(content: _Row) -> list[_Row]:
    return [
        {"scale_is": which, "scale": content[scale], **row}
        for which, scale, bins in (("own", "scale", "bins"), ("fitted", "fitted_scale", "fitted_bins"))
        for row in content[bins]
    ]


def _at_k(row: _Row) -> _Row:
    """The figures of a class with a column for each k."""
    at = {f"{name}@{k}": value for name in ("precision", "recall") for k, value in row[name].items()}
    return {**{key: value for key, value in row.items() if key not in ("precision", "recall")}, **at}
