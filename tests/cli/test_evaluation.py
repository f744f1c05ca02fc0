"""``evaluate`` and ``compare`` as people type them, and "unknown" answers of ``classify``."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from conftest import Run
from kits.hashing_encoder import HashingEncoder
from kits.runs import report_of, run_of
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli import options, output
from zsretrieve.cli.app import app
from zsretrieve.cli.views import evaluation
from zsretrieve.domain.errors import UsageError, ZsRetrieveError

CLASSES = ("red circle", "blue star", "green heart", "white square", "black arrow", "red square", "blue circle")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of 21 scenes that the hashing encoder knows little of, and prototypes with and without template."""
    root = tmp_path_factory.mktemp("evaluating")
    for name in CLASSES:
        shutil.copytree(scene_folder / name, root / "photos" / name)
    encoder = HashingEncoder()
    zs.build_gallery(root / "photos", root / "gallery", encoder)
    for templates in ("raw", "standard"):
        zs.build_prototypes(root / templates, zs.read_prompts(",".join(CLASSES), templates), encoder)
    twins = zs.read_prompts(",".join((*CLASSES, "red circle")), "raw")
    zs.build_prototypes(root / "twins", twins, encoder)
    return root


def typed(world: Path, *words: str | Path) -> Result:
    """What a command says, in this process, which saves the start of another."""
    with contextlib.chdir(world):
        done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return done


def ask(world: Path, *words: str, prototypes: str = "raw") -> Any:
    return json.loads(typed(world, "evaluate", "gallery", "-p", prototypes, *words, "--format", "json").stdout)


def test_classes_by_name_need_no_index(scene_folder: Path, tmp_path: Path) -> None:
    for name in CLASSES[:2]:
        shutil.copytree(scene_folder / name, tmp_path / "photos" / name)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    words = ("--model", "demo", "--device", "cpu", "--format", "json")
    zs.build_prototypes(tmp_path / "index", tmp_path / "classes.txt", zs.Model("demo", zs.Compute(device="cpu")))
    of_index = json.loads(typed(tmp_path, "evaluate", "photos", "-p", "index", *words).stdout)
    assert of_index["n_scored"] == 6
    for option in ("--classes", "--labels", "-c", "-l"):
        named = json.loads(typed(tmp_path, "evaluate", "photos", option, "classes.txt", *words).stdout)
        assert named["n_correct"] == of_index["n_correct"]
        typed(tmp_path, "classify", "photos", option, "classes.txt", *words)


def test_a_figure_at_chance_comes_with_what_to_check(world: Path) -> None:
    shifted = dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True))
    for name, other in shifted.items():
        shutil.copytree(world / "photos" / name, world / "shifted" / other)
    words = ("--classes", ",".join(CLASSES), "--model", "demo", "--device", "cpu")
    note = "no better than guessing among 7 classes: check the weights, the activation"
    assert note in typed(world, "evaluate", "shifted", *words).stderr
    assert note not in typed(world, "evaluate", "photos", *words).stderr


def test_json_holds_all_figures_of_the_report(world: Path) -> None:
    printed = ask(world, "--k", "1,3", "-k", "7", "--retrieval", "--reject-below", "0.2")
    report = zs.evaluate(
        world / "gallery", world / "raw", ranks=(1, 3, 7), retrieval_at=(1, 5, 10, 100), reject=zs.Reject(below=0.2)
    )
    assert {k: printed[f"prec@{k}"] for k in (1, 3, 7)} == report.prec_at
    assert printed["prec@5"] is None
    assert printed["prec@7"] == 1.0
    interval = report.prec_interval[3]
    assert printed["prec@3_interval"] == {"low": interval.low, "high": interval.high, "level": 0.95}
    assert printed == json.loads(json.dumps(report.to_dict()))
    assert report.calibration is not None
    assert printed["calibration"]["error"] == pytest.approx(report.calibration.error)
    assert len(printed["calibration"]["bins"]) == len(report.calibration.bins)
    assert sum(one["n"] for one in printed["calibration"]["fitted_bins"]) == 21
    assert [point["coverage"] for point in printed["coverage"]["margin"]][-1] == 1.0
    assert printed["rejection"]["threshold"] == 0.2
    assert printed["rejection"]["by"] == "probability"
    assert report.retrieval is not None
    assert printed["retrieval"]["mean_average_precision"] == report.retrieval.mean_average_precision
    assert list(printed["retrieval"]["precision"]) == ["1", "5", "10", "21"]
    assert printed["retrieval"]["recall"]["21"] == 1.0
    assert [one["n_relevant"] for one in printed["retrieval"]["per_class"]] == [3] * 7
    assert printed["merged"] is None
    wrong = sum(one["count"] for one in printed["confusions"])
    assert printed["n_correct"] == sum(one["n_correct"] for one in printed["per_class"])
    assert wrong == printed["n_scored"] - printed["n_correct"] == 21 - printed["n_correct"]


def test_the_table_is_short_and_holds_intervals(run_cli: Run, world: Path) -> None:
    done = run_cli("evaluate", "gallery", "-p", "raw", cwd=world)
    assert "95 % interval" in done.stdout
    assert "calibration error" in done.stdout
    assert "softmax, scale 10;" in done.stdout
    assert "equal names" not in done.stdout
    assert len(done.stdout.splitlines()) < 30
    more = run_cli(
        "evaluate", "gallery", "-p", "twins", "--per-class", "--retrieval-at", "2,99", "--reject-below", "0.001",
        "--by", "margin", cwd=world,
    )  # fmt: skip
    assert "equal names as one" in more.stdout
    assert "worst first" in more.stdout
    assert "precision@21" in more.stdout
    assert "margin of 0.001 or more" in more.stdout
    assert "precision of answers" in more.stdout
    assert "most frequent confusions" not in more.stdout
    assert "there are only 21 images, so a larger k" in more.stderr
    classes = [line for line in more.stdout.split("worst first")[1].splitlines() if "/ 3" in line]
    recalls = [float(line.split("%")[0].split()[-1]) for line in classes]
    assert len(recalls) == 7
    assert recalls == sorted(recalls)


def test_classes_of_one_name_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(run_of([1, 1, 2], [0, 0, 0], ("missile", "missile", "tench")))
    for per_class in (False, True):
        evaluation.show(report, per_class=per_class)
        shown = capsys.readouterr().out
        assert "missile #0" in shown
        assert shown.count("#") == 1


def test_labels_that_are_numbers_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(run_of([1, 1, 2], [0, 0, 0], ("cat", "dog", "tench")))
    evaluation.show(report)
    assert "labels as numbers" not in capsys.readouterr().out
    evaluation.show(replace(report, n_by_number=3))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "labels as numbers" in line)
    assert row.split("numbers", 1)[1].split() == ["3", "class", "numbers,", "counted", "from", "0"]


def test_a_threshold_is_chosen_for_a_wanted_precision(world: Path) -> None:
    curves = ask(world)["coverage"]
    for by, curve in curves.items():
        best = max(point["accuracy"] for point in curve)
        assert best > 0
        chosen = ask(world, "--wanted-precision", str(best), "--by", by)["rejection"]
        enough = [point for point in curve if point["accuracy"] >= best]
        assert chosen["threshold"] == min(point["threshold"] for point in enough)
        assert chosen["coverage"] == max(point["coverage"] for point in enough)
    again = ask(world, "--reject-below", repr(chosen["threshold"]), "--by", by)["rejection"]
    assert again == {**chosen, "wanted": None}


def test_classify_answers_unknown_below_a_threshold(world: Path) -> None:
    base = ("classify", "gallery", "-p", "raw")
    plain = json.loads(typed(world, *base, "-k", "2", "--format", "json").stdout)
    for by, sure in (
        ("probability", [row["predictions"][0]["probability"] for row in plain]),
        ("margin", [row["predictions"][0]["score"] - row["predictions"][1]["score"] for row in plain]),
    ):
        threshold = sorted(sure)[10] + 1e-6
        options = (*base, "--reject-below", repr(threshold), "--by", by)
        done = typed(world, *options, "-k", "2", "--format", "json")
        rows = json.loads(done.stdout)
        assert [row.pop("rejected") for row in rows] == [value < threshold for value in sure]
        assert rows == plain
        assert "11 of 21 images are unknown" in done.stderr
        # With one class asked for, the second is still what the margin is to.
        flat = list(csv.DictReader(io.StringIO(typed(world, *options, "-k", "1", "--format", "csv").stdout)))
        assert [row["rejected"] for row in flat] == [str(value < threshold) for value in sure]
        assert [row["class_name"] for row in flat] == [row["predictions"][0]["class_name"] for row in plain]
    table = typed(world, *options).stdout
    assert table.count("unknown") == 11


def test_saved_runs_are_compared_and_equal_what_prototypes_give(world: Path, tmp_path: Path) -> None:
    first, second = (ask(world, "--save", str(tmp_path / name), prototypes=name) for name in ("raw", "standard"))
    flips = tmp_path / "flips.csv"
    done = typed(world, "compare", tmp_path / "raw", tmp_path / "standard", "--format", "json", "--flipped", flips)
    printed = json.loads(done.stdout)
    mixed = typed(world, "compare", tmp_path / "raw", "standard", "--on", "gallery", "--format", "json")
    assert json.loads(mixed.stdout) == printed
    assert (printed["n"], printed["matched_by"]) == (21, "digest")
    assert (printed["first"]["prec@1"], printed["second"]["prec@1"]) == (first["prec@1"], second["prec@1"])
    assert printed["first"]["interval"] == first["prec@1_interval"]
    assert printed["difference"] == pytest.approx(second["prec@1"] - first["prec@1"])
    assert len(printed["flips"]) == printed["only_first_right"] + printed["only_second_right"] > 0
    listed = list(csv.DictReader(io.StringIO(flips.read_text())))
    assert [row["path"] for row in listed] == [flip["path"] for flip in printed["flips"]]
    assert sum(row["won"] == "1" for row in listed) == printed["only_second_right"]
    typed(world, "compare", tmp_path / "raw", tmp_path / "raw", "--flipped", flips)
    assert len(flips.read_text().splitlines()) == 1  # an earlier list is replaced
    assert zs.compare(world / "raw", world / "standard", on=world / "gallery") == zs.compare(
        tmp_path / "raw", zs.open_run(tmp_path / "standard")
    )
    part = ("--on", "gallery", "--where", "label like 'red%'")
    mixed = typed(world, "compare", tmp_path / "raw", "standard", *part)
    assert "15 images are only in A and left out" in mixed.stderr
    assert "McNemar" in mixed.stdout
    assert "/ 6 images" in mixed.stdout
    assert "percentage points, paired" in mixed.stdout


def test_tables_are_written(run_cli: Run, world: Path, tmp_path: Path) -> None:
    options = ("evaluate", "gallery", "-p", "raw", "--csv", tmp_path / "csv")
    assert run_cli(*options, cwd=world).returncode == 0
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "csv" / "images.csv").read_text())))) == 21
    again = run_cli(*options, cwd=world)
    assert again.returncode == 1
    assert again.stdout == ""
    assert "error: there is already a folder of tables" in again.stderr
    assert run_cli(*options, "--force", "--retrieval", cwd=world).returncode == 0
    assert (tmp_path / "csv" / "retrieval.csv").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "gallery", "-p", "raw", "--k", "8"), "k is 8, but there are 7 classes"),
        (("evaluate", "gallery", "-p", "raw", "--save", "photos"), "exists and is not a run"),
        (("evaluate", "gallery", "-p", "raw", "--reject-below", "50"), "threshold must be between 0 and 1, got 50"),
        (("evaluate", "gallery", "-p", "raw", "--model", "nowhere/none"), "nowhere/none"),
        (("evaluate", "gallery", "-p", "raw", "--save", "mine.txt/x.run"), "mine.txt' is not a folder"),
        (("evaluate", "gallery", "-p", "raw", "--csv", "mine.txt/csv"), "mine.txt' is not a folder"),
        (("evaluate", "gallery", "-p", "raw", "--skipped", "mine.txt"), "was not written by --skipped"),
        (("compare", "raw", "standard", "--on", "gallery", "--flipped", "mine.txt"), "was not written by --flipped"),
        (("compare", "raw", "standard"), "prototypes are compared on a gallery, and none is given"),
        (("compare", "raw", "twins", "--on", "gallery"), "different classes: 1 only in the second ('red circle')"),
        (("compare", "nothing", "raw", "--on", "gallery"), "there is no file 'nothing'"),
        (("compare", "raw", "gallery", "--on", "gallery"), "is a gallery index, but a prototype index is needed"),
    ],
)
def test_errors_are_clear(world: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    (world / "mine.txt").write_text("mine")
    monkeypatch.chdir(world)
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert (world / "mine.txt").read_text() == "mine"
    assert isinstance(done.exception, ZsRetrieveError)
    assert message in done.exception.message
    assert done.exception.hint


@pytest.mark.parametrize(
    "words",
    [
        ("classify", "gallery"),
        ("evaluate", "gallery"),
        ("evaluate", "gallery", "-p", "raw", "--classes", "a,b"),
        ("evaluate", "gallery", "-p", "raw", "-t", "standard"),
        ("classify", "gallery", "-p", "raw", "--labels", "a,b"),
        ("classify", "gallery", "-p", "raw", "--templates", "standard"),
        ("classify", "photos", "-p", "raw", "--where", "width > 5"),
        ("evaluate", "photos", "-p", "raw", "--where", "width > 5"),
        ("evaluate", "gallery", "-p", "raw", "--no-exif"),
        ("evaluate", "gallery", "-p", "raw", "--max-megapixels", "5"),
        ("classify", "gallery", "-p", "raw", "--fast-decode"),
        ("evaluate", "gallery", "-p", "raw", "--ground-truth", "truth.csv"),
        ("evaluate", "gallery", "-p", "raw", "--report-pictures", "3"),
        ("evaluate", "gallery", "-p", "raw", "--k", "1,x"),
        ("evaluate", "gallery", "-p", "raw", "--k", "0"),
        ("evaluate", "gallery", "-p", "raw", "--retrieval-at", ","),
        ("evaluate", "gallery", "-p", "raw", "--retrieval-at", ""),
        ("evaluate", "gallery", "-p", "raw", "--by", "margin"),
        ("evaluate", "gallery", "-p", "raw", "--batch-size", "3"),
        ("evaluate", "gallery", "-p", "raw", "--precision", "bf16"),
        ("classify", "gallery", "-p", "raw", "--engine", "torch"),
        ("evaluate", "gallery", "-p", "raw", "--save", "one", "--report", "./one"),
        ("evaluate", "gallery", "-p", "raw", "--csv", "out", "--skipped", "out/skipped.csv"),
        ("compare", "a.run", "b.run", "--device", "cpu"),
        ("compare", "a.run", "b.run", "--fp16-index"),
        ("evaluate", "gallery", "-p", "raw", "--reject-below", "0.5", "--wanted-precision", "0.5"),
        ("evaluate", "gallery", "-p", "raw", "--wanted-precision", "95"),
        ("classify", "gallery", "-p", "raw", "--by", "margin"),
        ("compare", "raw", "standard", "--on", "gallery", "--flipped", "nowhere/flips.csv"),
        ("compare", "raw", "standard", "--on", "gallery", "--flipped", "to-nowhere.csv"),
    ],
)
def test_wrong_usage_is_2(world: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    link = world / "to-nowhere.csv"
    if not link.is_symlink():
        link.symlink_to("nowhere/flips.csv")
    monkeypatch.chdir(world)
    done = CliRunner().invoke(app, words)
    assert done.stdout == ""
    if isinstance(done.exception, UsageError):
        assert done.exception.hint
    else:
        assert done.exit_code == 2


@pytest.mark.parametrize("mode", ["w", "a"])
def test_a_list_on_stdout_goes_on_where_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    out = tmp_path / "out.txt"
    out.write_text("before\n")
    with open(out, mode) as stdout, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", stdout)
        options.check_writable(out, "--flipped", ("path",))
        print("table", file=stdout)
        with output.opened(out) as handle:
            handle.write("list\n")
        print("more", file=stdout)
    assert out.read_text() == ("before\n" if mode == "a" else "") + "table\nlist\nmore\n"


def test_what_holds_nothing_may_be_written_twice() -> None:
    options.check_apart({"--skipped": Path(os.devnull), "--csv": Path(os.devnull)})


def test_a_page_about_a_probe_proposes_no_similarities(world: Path, tmp_path: Path) -> None:
    typed(world, "probe", "gallery", tmp_path / "probe", "--shots", "1", "--c", "1")
    printed = typed(world, "evaluate", "gallery", "-p", tmp_path / "probe", "--report", tmp_path / "page.html")
    assert "report ->" in printed.stderr
    assert "prompts similar" not in (tmp_path / "page.html").read_text()
