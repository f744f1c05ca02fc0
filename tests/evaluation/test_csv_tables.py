"""The CSV files of an evaluation hold its figures, and sum up to it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from kits.scored import random_world
from sklearn.metrics import confusion_matrix

from zsretrieve.domain.errors import OutputExistsError
from zsretrieve.domain.results import EvalReport, Reject
from zsretrieve.evaluation import csv_tables
from zsretrieve.evaluation.report import evaluate_labelled

NAMES = ("tench", "missile", "missile", 'a "b",\nc', "caf\udce9")


@pytest.fixture(scope="module")
def report() -> EvalReport:
    labelled, prototypes = random_world(90, 5, names=NAMES)
    labelled = labelled.at(np.flatnonzero(labelled.truth != 2))  # a class that does not occur
    return evaluate_labelled(labelled, prototypes, retrieval_at=(1, 10), reject=Reject("margin", 0.1))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_the_files_hold_the_figures(tmp_path: Path, report: EvalReport) -> None:
    run = report.run
    csv_tables.write(tmp_path / "out", report)
    read = {path.name: rows(path) for path in (tmp_path / "out").iterdir()}
    assert sorted(read) == [
        "calibration.csv", "confusion_matrix.csv", "confusions.csv", "coverage.csv", "figures.csv", "images.csv",
        "per_class.csv", "retrieval.csv",
    ]  # fmt: skip
    matrix = confusion_matrix(run.truth, run.ranked[:, 0], labels=range(5))
    lines = read["confusion_matrix.csv"]
    assert list(lines[0])[:5] == ["true_id", "true_class", "0 tench", "1 missile", "2 missile"]
    assert [int(line["true_id"]) for line in lines] == [0, 1, 3, 4]
    counts = np.array([[int(value) for value in list(line.values())[2:]] for line in lines])
    assert counts.tolist() == matrix[[0, 1, 3, 4]].tolist()
    assert {(int(r["true_id"]), int(r["predicted_id"])): int(r["count"]) for r in read["confusions.csv"]} == {
        (t, p): matrix[t, p] for t in range(5) for p in range(5) if t != p and matrix[t, p]
    }
    images = read["images.csv"]
    assert [row["path"] for row in images] == list(run.paths)
    assert sum(int(row["correct"]) for row in images) == report.n_correct
    rejection = report.rejection
    assert rejection is not None
    assert sum(row["rejected"] == "0" for row in images) == rejection.n_answered
    assert [float(row["margin"]) for row in images] == pytest.approx(run.margins.tolist(), abs=1e-7)
    assert [float(row["probability"]) for row in images] == run.probabilities[:, 0].tolist()
    figures = {row["figure"]: float(row["value"]) for row in read["figures.csv"]}
    calibration = report.calibration
    assert calibration is not None
    assert report.merged is not None
    assert report.retrieval is not None
    assert figures == {
        "prec@1": report.prec_at_1, "prec@5": 1.0, "mean_per_class_recall": report.mean_per_class_recall,
        "prec@1_merged": report.merged.prec_at_1, "coverage": rejection.coverage,
        "precision_of_answers": rejection.precision,
        "mean_average_precision": report.retrieval.mean_average_precision,
        "calibration_error": calibration.error, "calibration_error_fitted": calibration.fitted_error,
        "negative_log_likelihood": calibration.loss, "negative_log_likelihood_fitted": calibration.fitted_loss,
        **{f"precision@{k}": value for k, value in report.retrieval.precision_at.items()},
        **{f"recall@{k}": value for k, value in report.retrieval.recall_at.items()},
        "skipped": 0, "unlabelled": 0, "labels_as_numbers": 0, "drawn": 0, "tied": report.n_tied,
    }  # fmt: skip
    assert [float(row["recall"]) for row in read["per_class.csv"]] == [one.recall for one in report.per_class]
    assert [row["class_name"] for row in read["retrieval.csv"]][2:] == ['a "b",\nc', "caf\\udce9"]
    assert sum(int(row["n"]) for row in read["calibration.csv"]) == 2 * report.n_scored
    assert len(read["coverage.csv"]) == sum(map(len, report.coverage.values()))


def test_only_such_a_folder_is_replaced(tmp_path: Path, report: EvalReport) -> None:
    out = tmp_path / "out"
    out.mkdir()
    csv_tables.write(out, report)  # an empty folder is no obstacle
    with pytest.raises(OutputExistsError, match="there is already a folder of tables"):
        csv_tables.write(out, report)
    csv_tables.write(out, report, force=True)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="not a folder of tables of this form"):
        csv_tables.write(out, report, force=True)
    assert (out / "mine.txt").read_text() == "mine"
