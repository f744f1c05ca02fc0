"""``zsretrieve detect`` as people run it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from kits.output_page import check, columns
from kits.owl import write_owl
from PIL import Image

WORDS = ("detect", "photos", "--model", "local-dir:owl", "--threshold", "0.05", "--device", "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, three images, a file that is not one, and a ground truth."""
    root = tmp_path_factory.mktemp("world")
    write_owl("owlv2", root / "owl")
    (root / "photos").mkdir()
    for number in range(3):
        Image.effect_noise((70, 50 + number), 90).convert("RGB").save(root / "photos" / f"{number}.png")
    (root / "photos" / "broken.png").write_bytes(b"no")
    truth = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [5, 5, 30, 30]}],
    }
    (root / "truth.json").write_text(json.dumps(truth))
    return root


def test_every_format_is_as_documented(world: Path, run_cli: Run) -> None:
    printed: dict[str, Any] = {}
    for form in ("json", "jsonl", "csv", "table"):
        done = run_cli(*WORDS, "--labels", "cat,dog", "--format", form, cwd=world)
        assert done.returncode == 0, done.stderr
        assert "1 skipped (list them with --skipped FILE); first: " in done.stderr
        printed[form] = done.stdout
    rows = json.loads(printed["json"])
    check(rows, "detect")
    assert [Path(row["path"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    assert [json.loads(line) for line in printed["jsonl"].splitlines()] == rows
    table = list(csv.DictReader(io.StringIO(printed["csv"])))
    assert list(table[0]) == columns("detect")
    assert len(table) == sum(len(row["detections"]) for row in rows) > 0
    assert f"{len(table)} objects in 3 of 3 images" in done.stderr
    assert "photos/0.png" in printed["table"]


def test_files_and_examples(world: Path, run_cli: Run) -> None:
    done = run_cli(
        *WORDS, "--like", "thing=photos/1.png[10,10,30,20]", "--like", "photos/0.png", "--format", "json",
        "--report", "report.html", "--results", "results.json", "--skipped", "skipped.csv", cwd=world,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {one["class_name"] for row in json.loads(done.stdout) for one in row["detections"]}
    assert names <= {"thing", "photos/0.png"}
    assert names
    assert "the object of 'thing': " in done.stderr
    assert "report -> report.html" in done.stderr
    assert (world / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((world / "results.json").read_text())
    assert "broken.png,not a readable image" in (world / "skipped.csv").read_text()


def test_average_precision(world: Path, run_cli: Run) -> None:
    ask = (*WORDS, "--labels", "cat,dog", "--ground-truth", "truth.json", "--format")
    done = run_cli(*ask, "json", cwd=world)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    check(figures, "detect --ground-truth")
    assert (figures["n_images"], figures["n_objects"], figures["n_unknown"]) == (1, 1, 2)
    assert figures["classes"][1]["ap"] is None
    done = run_cli(*ask, "csv", cwd=world)
    assert done.stdout.splitlines()[0].split(",") == columns("detect --ground-truth")
    done = run_cli(*ask, "table", cwd=world)
    assert "Average precision in 1 image" in done.stdout
    assert "mean" in done.stdout
    assert "2 images are not in the ground truth and do not count" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        ("--labels cat,dog --model demo", 1, "'demo' is not a detector", "Use OWL-ViT or OWLv2"),
        ("", 2, "nothing says what to find", "Name --classes, or give an example with --like; not both."),
        ("--labels a,b --like photos/0.png", 2, "--classes and --like both say what to find", "Name --classes"),
        ("--like photos/0.png[60,0,40,10]", 1, "which has 70 x 50 pixels", "of the upright image"),
        ("--like photos/0.png[1,2,3]", 1, "[1, 2, 3] is not a box in 'photos/0.png'", "such as [10,20,64,48]"),
        ("--labels cat,fox --ground-truth truth.json", 1, "has no category for 'fox'", "It has: cat, dog."),
        ("--labels cat,dog --ground-truth photos/0.png", 1, "photos/0.png", "text file"),
        ("--labels cat,dog --precision int8", 1, "not with --precision int8", "Leave --precision int8 out."),
        ("--labels cat,dog --threshold 2", 2, "2 is more than 1", "--help"),
        ("--labels cat,dog --results truth.json", 1, "is not a list of results of this form", "Give another output."),
    ],
)
def test_bad_input(words: str, code: int, message: str, hint: str, world: Path, run_cli: Run) -> None:
    done = run_cli(*WORDS, *words.split(), cwd=world)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert hint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
