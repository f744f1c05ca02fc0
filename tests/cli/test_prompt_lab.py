"""``zsretrieve prompts compare|rank|select|sensitivity|similar`` as a shell sees them, with the bundled model."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.demo import scenes
from zsretrieve.domain.errors import UsageError, ZsRetrieveError
from zsretrieve.domain.ports import Encoder
from zsretrieve.encoders.cache import text_embeddings

SETS = ("-t", "raw", "-t", "standard", "-t", "scenes")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, demo_encoder: Encoder) -> Path:
    root = tmp_path_factory.mktemp("lab")
    zs.build_gallery(scene_folder, root / "gallery", demo_encoder)
    zs.build_prototypes(root / "prototypes", "scenes", demo_encoder)
    return root


def asked(run_cli: Run, *words: str | Path) -> Any:
    done = run_cli("prompts", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_bundled_world_says_whether_templates_beat_the_raw_name(world: Path, run_cli: Run) -> None:
    found = asked(run_cli, "compare", world / "gallery", *SETS)
    table = run_cli("prompts", "compare", world / "gallery", *SETS).stdout
    assert (found["n_scored"], found["n_classes"], found["against"]) == (360, 120, "raw")
    assert found["sets"][0]["difference"] is None
    assert [row["n_prompts"] for row in found["sets"]] == [120, 120, 840]
    for row in found["sets"]:
        assert f"{row['n_correct']} / 360" in table
        assert row["interval"]["low"] < row["prec@1"] < row["interval"]["high"]
    for row in found["sets"][1:]:
        low, high = row["difference_interval"]["low"], row["difference_interval"]["high"]
        assert low <= row["difference"] <= high
        assert row["difference"] == (row["difference_gained"] - row["difference_lost"]) / 360
        verdict = "no difference shown; the interval includes zero"
        if low > 0 or high < 0:
            verdict = f"{'better' if low > 0 else 'worse'}, the interval of the difference excludes zero"
        assert f"{row['templates']}: {verdict}." in table


def test_a_harmful_template_is_recognised(world: Path, run_cli: Run) -> None:
    found = run_cli("prompts", "compare", world / "gallery", "-t", "raw", "-t", "no {} but a red circle").stdout
    assert "no {} but a red circle: worse, the interval of the difference excludes zero." in found
    turned = run_cli(
        "prompts", "compare", world / "gallery", "-t", "raw", "-t", "no {} but a red circle",
        "--against", "no {} but a red circle",
    ).stdout  # fmt: skip
    assert "raw: better, the interval of the difference excludes zero." in turned


def test_the_scores_are_those_of_evaluation(world: Path, run_cli: Run) -> None:
    found = asked(run_cli, "compare", world / "gallery", "-p", world / "prototypes", "-t", "scenes")
    done = run_cli("evaluate", world / "gallery", "-p", world / "prototypes", "--format", "json")
    assert found["sets"][0]["n_correct"] == json.loads(done.stdout)["n_correct"]
    assert found["classes"] == "scenes"
    red = asked(run_cli, "compare", world / "gallery", "-t", "scenes", "--where", "label like 'red %'")
    assert (red["n_scored"], red["n_classes_scored"], red["where"]) == (30, 10, "label like 'red %'")


def test_templates_alone_and_left_out(world: Path, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "three.txt").write_text("{}\na photo of a {}.\nno {} but a red circle\n")
    words = ("rank", world / "gallery", "--templates", tmp_path / "three.txt")
    found = asked(run_cli, *words)
    worst = found["ranked"][-1]
    assert worst["template"] == "no {} but a red circle"
    assert worst["alone_interval"]["high"] < found["ranked"][0]["alone_interval"]["low"]
    assert worst["adds"] == (worst["adds_gained"] - worst["adds_lost"]) / 360
    rows = list(csv.DictReader(io.StringIO(run_cli("prompts", *words, "--format", "csv").stdout)))
    assert [row["template"] for row in rows] == [row["template"] for row in found["ranked"]]
    assert float(rows[0]["alone_prec@1"]) == found["ranked"][0]["alone_prec@1"]
    assert float(rows[0]["adds_low"]) == found["ranked"][0]["adds_interval"]["low"]
    table = run_cli("prompts", *words).stdout
    harmful = [f"'{row['template']}'" for row in found["ranked"] if row["adds_interval"]["high"] < 0]
    assert f"they do better without: {', '.join(harmful) or 'none'}." in table
    assert f"All 3 templates of {tmp_path / 'three.txt'} together" in table


def test_templates_that_were_chosen_can_be_given_again(world: Path, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "three.txt").write_text("no {} but a red circle\n{}\na photo of a {}.\n")
    words = ("select", world / "gallery", "-t", tmp_path / "three.txt", "--max-templates", "2", "--seed", "5")
    found = asked(run_cli, *words, "--out", tmp_path / "best.toml", "--halves", tmp_path / "halves.csv")
    assert found["steps"][0]["template"] != "no {} but a red circle"
    assert found["steps"][0]["selecting_n"] == found["selecting"]["n_looked_at"] == 180
    assert (found["chosen_n"], found["seed"]) == (180, 5)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "halves.csv").read_text())))
    assert sorted(int(row["id"]) for row in rows) == list(range(360))
    reporting = [row["id"] for row in rows if row["half"] == "reporting"]
    assert len(reporting) == found["reporting"]["n"] == 180
    again = asked(
        run_cli, "compare", world / "gallery", "-t", tmp_path / "best.toml", "--where", f"id in ({','.join(reporting)})"
    )
    assert again["sets"][0]["n_correct"] == found["chosen_n_correct"]
    assert again["sets"][0]["n_templates"] == len(found["steps"])
    for name, option in (("best.toml", "--out"), ("three.txt", "--halves")):  # what is there is not lost
        before = (tmp_path / name).read_bytes()
        done = run_cli("prompts", *words, option, tmp_path / name)
        assert (done.returncode, (tmp_path / name).read_bytes()) == (1, before)
        assert "exists" in done.stderr
    for name in ("best.txt", "best.json"):
        done = run_cli("prompts", *words, "--images", "50", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "180 images to select on, of which 50 drawn at random were used" in done.stdout
        assert found["reporting"]["sha256"][:12] in done.stdout
        assert "which the selection has not seen" in done.stdout
        shown = json.loads(run_cli("prompts", "show", tmp_path / name, "--format", "json").stdout)
        assert 1 <= len(shown["templates"]) <= 2


def test_the_spread_is_printed_with_a_histogram(world: Path, run_cli: Run) -> None:
    found = asked(run_cli, "sensitivity", world / "gallery", "-t", "scenes")
    values = [row["alone_prec@1"] for row in found["singles"]]
    assert (found["mean"], found["least"], found["most"]) == (pytest.approx(np.mean(values)), min(values), max(values))
    table = run_cli("prompts", "sensitivity", world / "gallery", "-t", "scenes").stdout
    assert "standard deviation" in table
    counted = [line.split() for line in table.splitlines() if line.rstrip().endswith("#")]
    assert sum(int(line[-2]) for line in counted) == 7
    alone = run_cli("prompts", "sensitivity", world / "gallery", "-t", "raw").stdout
    assert alone.count("#" * 40) == 1
    assert "0.00 points" in alone


def test_classes_that_are_near_each_other(world: Path, run_cli: Run, tmp_path: Path) -> None:
    found = asked(
        run_cli, "similar", world / "prototypes", "--gallery", world / "gallery", "--pairs", "4",
        "--matrix", tmp_path / "matrix.csv",
    )  # fmt: skip
    assert (len(found["pairs"]), len(found["nearest"])) == (4, 120)
    assert {pair["n_first"] for pair in found["pairs"]} == {3}
    matrix = list(csv.reader(io.StringIO((tmp_path / "matrix.csv").read_text())))
    assert (len(matrix), matrix[1][1]) == (121, "red circle")
    refused = run_cli("prompts", "similar", world / "prototypes", "--matrix", world / "gallery" / "manifest.json")
    assert refused.returncode == 1
    assert "was not written by --matrix" in refused.stderr
    first = found["pairs"][0]
    assert float(matrix[1 + first["first_id"]][2 + first["second_id"]]) == pytest.approx(first["similarity"], abs=1e-6)
    twins = run_cli(
        "prompts", "similar", "--classes", "red circle,blue star,Red Circle,blue star", "-m", "demo", "--pairs", "3"
    )
    assert twins.returncode == 0, twins.stderr
    assert sum("twins" in line for line in twins.stdout.splitlines()) >= 2
    assert "image" not in twins.stdout
    rows = run_cli("prompts", "similar", world / "prototypes", "--pairs", "2", "--format", "csv").stdout
    assert len(rows.splitlines()) == 3


def test_what_was_encoded_once_needs_no_model(world: Path, run_cli: Run) -> None:
    words = ["prompts", "compare", str(world / "gallery"), *SETS, "--format", "json"]
    first = run_cli(*words)
    code = (
        f"import sys\nsys.argv = ['zsretrieve', *{words!r}]\nfrom zsretrieve.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code in (0, None), e.code\n"
        "print([m for m in ('torch', 'open_clip', 'openvino', 'tokenizers', 'faiss') if m in sys.modules])"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert again.stdout == f"{first.stdout}[]\n"


def test_prompts_are_cached_unless_that_is_off(
    small_gallery: Path, tmp_path: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("zsretrieve.encoders.loading.planned_encoding", lambda compute: hashing_encoder.encoding)
    monkeypatch.setattr("zsretrieve.encoders.loading.Model._load", lambda model: hashing_encoder)
    ask = ["prompts", "compare", str(small_gallery), "-t", "raw", "--format", "json"]
    plain = CliRunner().invoke(app, [*ask, "--no-prompt-cache"])
    assert (plain.exit_code, text_embeddings.PROMPTS.size()[0]) == (0, 0), plain.output
    kept = CliRunner().invoke(app, ask)
    assert text_embeddings.PROMPTS.size()[0] == 120
    assert "120 prompts" in CliRunner().invoke(app, ["models", "cache", "list"]).stderr
    monkeypatch.setattr("zsretrieve.encoders.loading.Model._load", lambda model: None)
    assert plain.stdout == kept.stdout == CliRunner().invoke(app, ask).stdout
    assert CliRunner().invoke(app, [*ask, "--precision", "bf16"]).exit_code != 0, "another precision is another vector"
    assert zs.compare_templates(small_gallery, ["raw"]).sets[0].n_prompts == 120
    assert CliRunner().invoke(app, ["models", "cache", "clear"]).exit_code == 0
    assert text_embeddings.PROMPTS.size() == (0, 0)


def test_errors_come_before_a_model_is_loaded(
    world: Path, scene_folder: Path, tmp_path: Path, hashing_encoder: HashingEncoder
) -> None:
    scenes.draw(scenes.single("red circle", random.Random(1))).save(tmp_path / "one.png")
    zs.build_gallery(tmp_path, tmp_path / "unlabelled", hashing_encoder)
    (tmp_path / "edge.json").write_text('["a {} "]')
    gallery = world / "gallery"
    for words, message in (
        (("compare", scene_folder), "is not a gallery, and the prompt lab needs images that are encoded already"),
        (("compare", world / "prototypes"), "a gallery index is needed"),
        (("compare", tmp_path / "unlabelled"), "none of the images of the gallery has a label"),
        (("compare", tmp_path / "unlabelled", "-c", "scenes"), "none of the images of the gallery has a label"),
        (("rank", gallery, "-c", "cat,dog"), "120 of 120 labels are not classes"),
        (("compare", gallery, "-t", "raw", "-t", "raw"), "'raw' is given twice"),
        (("compare", gallery, "--against", "mine"), "'mine' is not one of the compared sets"),
        (("compare", gallery, "-t", "nothing"), "no template set or file 'nothing'"),
        (("select", gallery, "--where", "id = 3"), "1 labelled images cannot be halved"),
        (("select", gallery, "-t", tmp_path / "edge.json", "-o", tmp_path / "x.txt"), "begins or ends with a space"),
        (("sensitivity", gallery, "--where", "width > 9999"), "no image of 360 matches"),
        (("similar", "-c", "red circle,blue star", "--gallery", gallery), "118 of 120 labels are not classes"),
        (("similar", "-c", "cat,", "-m", "demo"), "one class alone"),
    ):
        done = CliRunner().invoke(app, ["prompts", *map(str, words)])
        assert isinstance(done.exception, ZsRetrieveError), words
        assert message in done.exception.message, words
        assert done.exception.hint
        assert done.stdout == ""
    for words in (
        ("compare", gallery, "-c", "scenes", "-p", world / "prototypes"),
        ("select", gallery, "--out", tmp_path / "no" / "x.txt"),
        ("select", gallery, "--out", tmp_path / "x.txt", "--halves", tmp_path / "x.txt"),
        ("select", gallery, "-t", tmp_path / "edge.json", "--out", tmp_path / "edge.json"),
        ("similar",),
        ("similar", world / "prototypes", "-t", "raw"),
        ("similar", world / "prototypes", "--where", "id = 1"),
    ):
        done = CliRunner().invoke(app, ["prompts", *map(str, words)])
        assert done.exit_code == 2 or isinstance(done.exception, UsageError), words
