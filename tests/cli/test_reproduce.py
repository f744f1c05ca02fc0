"""The published tables from a shell: a stand-in of ten synset folders, three small models and a table of their own."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from kits import forked
from kits.models import write_model
from kits.waiting import eventually
from PIL import Image

import zsretrieve as zs
from zsretrieve.cli.output import TableFormat
from zsretrieve.cli.views.reproduction import notes, print_explanation
from zsretrieve.domain.results import Interval, PairedDifference
from zsretrieve.reproduction.ablation import Effect, Explanation, Untested
from zsretrieve.reproduction.run import Reproduction, Row

MODELS = ("vit-quickgelu", "modified-resnet", "siglip-like")
TABLE = """
classes = "imagenette"
templates = ["openai7", "standard", "raw"]
images = 40

[sources]
paper = "a paper of our own"
book = "a book"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(4)
    keys = [key for key in zs.read_prompts("imagenette").class_keys if key is not None]
    for number in range(40):
        path = root / "val" / keys[number % 10] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 48 + number % 3, 3), dtype=np.uint8)).save(path)
    table = TABLE
    for number, name in enumerate(MODELS):
        write_model(name, root / name)
        table += f'[[models]]\nname = "local-dir:{name}"\ntitle = "{name}"\n'
        table += f"paper = {{ openai7 = {10 * number}, raw = 10 }}\nbook = {{ openai7 = 99.5 }}\n"
    (root / "table.toml").write_text(table)
    return root


def words(work: str, *more: str) -> list[str]:
    fixed = ["--published", "table.toml", "--work", work, "--engine", "torch", "--device", "cpu", "--batch-size", "8"]
    return ["reproduce", "val", *fixed, *more]


@pytest.fixture(scope="module")
def whole(world: Path, run_cli: Run) -> str:
    """What an undisturbed run prints as JSON."""
    done = run_cli(*words("whole", "--format", "json"), cwd=world)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_table(world: Path, whole: str) -> None:
    report = json.loads(whole)
    assert (report["n_images"], report["n_classes"], report["n_classes_scored"], report["failed"]) == (40, 10, 10, [])
    assert (report["precision"], report["engine"], report["device"]) == ("fp32", "torch", "cpu")
    rows = {(row["title"], row["templates"]): row for row in report["rows"]}
    assert set(rows) == {(name, kind) for name in MODELS for kind in ("openai7", "standard", "raw")}
    for number, name in enumerate(MODELS):
        row = rows[name, "openai7"]
        assert row["published"] == {"paper": 10.0 * number, "book": 99.5}
        assert row["difference_points"] == pytest.approx(100 * row["prec@1"] - 10 * number)
        assert row["off"] is (abs(row["difference_points"]) > 0.3)
        assert rows[name, "standard"]["off"] is None
        # The same figure by the other commands: a gallery without EXIF, prototypes, evaluate.
        encoder = zs.Model(
            f"local-dir:{world / name}", zs.Compute(device="cpu", precision="fp32", engine="torch")
        ).load()
        prototypes = zs.make_prototypes("imagenette", encoder, templates="openai7").prototypes
        evaluation = zs.evaluate(world / "val", prototypes, encoder, reading=zs.Reading(exif=False))
        assert (row["n_correct"], row["n_scored"]) == (evaluation.n_correct, 40)
        assert row["interval"] == evaluation.prec_interval[1].to_dict()


def test_killed_in_the_middle_and_run_again(world: Path, whole: str, run_cli: Run, tmp_path: Path) -> None:
    streams = [tmp_path / name for name in ("stdin", "stdout", "stderr")]
    streams[0].write_text("")
    process = multiprocessing.get_context("forkserver").Process(
        target=forked.command_line,
        args=(words("work", "--format", "json"), world, streams, {"ZSRETRIEVE_CACHE": os.environ["ZSRETRIEVE_CACHE"]}),
    )
    process.start()
    eventually(lambda: list((world / "work").glob("*/result.json")) or not process.is_alive(), pause=0.002)
    assert process.is_alive(), streams[2].read_text()
    process.kill()
    process.join()
    assert process.exitcode == -9
    counted = [len(json.loads(file.read_text())["counts"]) for file in (world / "work").glob("*/result.json")]
    assert 0 < sum(counted) < 9
    done = run_cli(*words("work", "--format", "json"), cwd=world)
    assert (done.returncode, done.stdout) == (0, whole), done.stderr


def test_forms_for_people_and_programs(world: Path, whole: str, run_cli: Run) -> None:
    rows = json.loads(whole)["rows"]
    for form in ("table", "markdown", "csv"):
        done = run_cli(*words("whole", "--format", form), cwd=world)
        assert done.returncode == 0, done.stderr
        if form == "csv":
            flat = list(csv.DictReader(io.StringIO(done.stdout)))
            assert [(one["model"], int(one["n_correct"])) for one in flat] == [
                (r["model"], r["n_correct"]) for r in rows
            ]
            assert [one["published_book"] for one in flat if one["templates"] != "openai7"] == [""] * 6
        else:
            lines = [line for line in done.stdout.splitlines() if "openai7" in line]
            assert len(lines) == 3
            for line, name in zip(lines, MODELS, strict=True):
                assert line.strip("| ").startswith(name)
                assert "99.5" in line
            assert ("---:" in done.stdout) is (form == "markdown")
        # All was there, so that no model was loaded.
        assert "loading" not in done.stderr
    assert "off by more than 0.3 points" in done.stderr
    assert "reproduce explain local-dir:vit-quickgelu SOURCE --classes imagenette --templates openai7" in done.stderr


def test_a_model_that_cannot_be_loaded(world: Path, whole: str, run_cli: Run) -> None:
    missing = ["--model", "hf-hub:nobody/nothing"]
    done = run_cli(*words("whole", *missing, "--format", "json"), cwd=world)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == json.loads(whole)["rows"]
    assert [one["model"] for one in report["failed"]] == ["hf-hub:nobody/nothing"]
    assert "not run: hf-hub:nobody/nothing: could not load the weights of 'hf-hub:nobody/nothing'" in done.stderr
    done = run_cli(*words("none", "--models", "none", *missing), cwd=world)
    refused(done, "none of the 1 models can be loaded", "--models none")
    assert not (world / "none").exists()


def test_other_images_are_reported(world: Path, run_cli: Run) -> None:
    (world / "some").mkdir()
    for folder in sorted((world / "val").iterdir())[:3]:
        (world / "some" / folder.name).symlink_to(folder)
    arguments = words("some-work", "--models", "vit-quickgelu")
    arguments[1] = "some"
    done = run_cli(*arguments, cwd=world)
    assert done.returncode == 0, done.stderr
    assert "these are 12 scored images of 3 of 10 classes" in done.stderr
    assert "off by" not in done.stderr


def refused(done: subprocess.CompletedProcess[str], message: str, hint: str = "") -> None:
    assert (done.returncode, done.stdout) == (1, ""), done
    lines = done.stderr.strip().splitlines()
    assert message in lines[-2], lines
    assert lines[-1].startswith("hint: ")
    assert hint in lines[-1]


def test_what_is_refused(world: Path, run_cli: Run) -> None:
    (world / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(world / "flat" / "one.png")
    (world / "strange" / "unicorn").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(world / "strange" / "unicorn" / "one.png")
    for folder, message in (("flat", "none of the images has a label"), ("strange", "not classes of the prototypes")):
        arguments = words("nothing")
        arguments[1] = folder
        refused(run_cli(*arguments, cwd=world), message)
    refused(run_cli("reproduce", "nowhere", cwd=world), "there is no folder or file 'nowhere'")
    refused(run_cli("reproduce", "val", "--dataset", "mnist", cwd=world), "no published table 'mnist'")
    refused(run_cli("reproduce", "val", "--model", "local-dir:nowhere", cwd=world), "'nowhere' is not a model's folder")
    assert not (world / "nothing").exists()
    for wrong in (
        ["reproduce", "--models", "RN50/openai"],
        ["reproduce", "val", "--published", "table.toml", "--precision", "int8"],
        words("x", "--dataset", "imagenette"),
        words("x", "--plan", "--skipped", "skipped.csv"),
        ["reproduce", "--plan", "--ground-truth", "table.toml"],
        ["reproduce", "--plan", "--device", "intel-gpu"],
    ):
        done = run_cli(*wrong, cwd=world)
        assert (done.returncode, done.stdout) == (2, "")


def test_the_plan(world: Path, run_cli: Run) -> None:
    done = run_cli("reproduce", "--plan", "--format", "json", "--device", "cpu", cwd=world)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["n_images"], len(report["models"])) == (50000, 9)
    # 1,000 names, four of them twice, in 80, 1 and 1 templates.
    assert report["n_prompts"] == 82 * len(set(zs.read_prompts("imagenet1k", "raw").class_names))
    for one in report["models"]:
        assert (one["download_bytes"] == 0) is one["cached"]
        assert one["download_bytes"] < one["disk_bytes"]
        assert one["seconds"] > 0
    assert report["seconds"] == pytest.approx(sum(one["seconds"] for one in report["models"]))
    done = run_cli(*words("new", "--plan"), cwd=world)
    assert done.returncode == 0, done.stderr
    assert "40 images and 90 prompts for each model" in done.stdout
    # Of disk and time, of three models and in all.
    assert done.stdout.count("not known") == 8
    assert "by torch in fp32 on cpu" in done.stdout
    assert not (world / "new").exists()


def test_the_plan_of_a_batch_of_cifar_writes_nothing(world: Path, run_cli: Run) -> None:
    cifar_batch(world / "planned")
    ask = ["--dataset", "cifar10", "--models", "ViT-B-32/openai", "--model", "demo", "--work", "no-work"]
    done = run_cli("reproduce", "planned", "--plan", *ask, "--device", "cpu", cwd=world)
    assert done.returncode == 0, done.stderr
    assert "20 images and" in done.stdout
    # What is not known of one is not nothing in all.
    (total,) = (line for line in done.stdout.splitlines() if line.strip().startswith("total"))
    assert total.count("and more") == 2
    done = run_cli("reproduce", "planned", "--plan", *ask, "--device", "cpu", "--format", "json", cwd=world)
    report = json.loads(done.stdout)
    assert (report["disk_bytes"], report["seconds"]) == (None, None)
    assert report["download_bytes"] == sum(one["download_bytes"] for one in report["models"])
    assert not (world / "no-work").exists()


def test_explaining(scene_folder: Path, world: Path, run_cli: Run) -> None:
    names = "red circle,blue star,green heart"
    for name in names.split(","):
        (world / "scenes" / name).parent.mkdir(exist_ok=True)
        (world / "scenes" / name).symlink_to(scene_folder / name)
    ask = ["reproduce", "explain", "demo", "scenes", "--classes", names, "--templates", "openai7", "--sample", "6"]
    done = run_cli(*ask, "--device", "cpu", "--format", "json", cwd=world)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["n_scored"], report["templates"]) == ("demo", 6, "openai7")
    assert {"activation", "templates"} <= {one["cause"] for one in report["effects"]}
    for one in report["effects"]:
        assert one["interval"]["low"] <= one["difference"] <= one["interval"]["high"]
        assert one["prec@1"] == pytest.approx(report["prec@1"] + one["difference"])


@pytest.mark.parametrize(("classes", "folder"), [("imagenette", "set"), ("cifar10", "batch")])
def test_explaining_finds_the_images_as_the_table_does(classes: str, folder: str, world: Path, run_cli: Run) -> None:
    if classes == "cifar10":
        cifar_batch(world / folder)
    else:
        (world / folder).mkdir()
        (world / folder / "val").symlink_to(world / "val")
    ask = ["--classes", classes, "--templates", "raw", "--sample", "3", "--work", "explained", "--device", "cpu"]
    done = run_cli("reproduce", "explain", "demo", folder, *ask, "--format", "json", cwd=world)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_scored"] == 3


def cifar_batch(folder: Path) -> None:
    records = np.random.default_rng(1).integers(0, 256, (20, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(20) % 10
    folder.mkdir()
    records.tofile(folder / "test_batch.bin")


def test_what_cannot_be_read_of_a_sample_is_reported(world: Path, run_cli: Run) -> None:
    (world / "broken" / "n01440764").mkdir(parents=True)
    (world / "broken" / "n02102040").symlink_to(world / "val" / "n02102040")
    (world / "broken" / "n01440764" / "one.png").write_bytes(b"no")
    ask = ["--classes", "imagenette", "--templates", "raw", "--sample", "2", "--device", "cpu"]
    done = run_cli("reproduce", "explain", "demo", "broken", *ask, cwd=world)
    assert done.returncode == 0, done.stderr
    assert "1 images of the sample cannot be read and are not scored" in done.stderr


def test_the_note_on_the_baseline_alone() -> None:
    table = zs.published_table("imagenet1k", models=["torchvision:resnet50"])
    figures = table.models[0].figures
    row = Row("torchvision:resnet50", "ResNet-50, supervised", "supervised", 1, 50_000, 0, figures, 0.3, True)
    done = Reproduction(table, zs.Compute(), (row,), (), 50_000, 1000, 1000, "", ())
    (line,) = notes(done)
    assert line == "off by more than 0.3 points: ResNet-50, supervised"  # it takes no prompts that could explain it


def test_a_small_p_value_is_not_printed_as_zero(capsys: pytest.CaptureFixture[str]) -> None:
    effect = Effect("resizing", "squashed", 2, PairedDifference(-0.25, Interval(-0.5, 0.1), 30, 1, 80, 3e-8), 5)
    print_explanation(Explanation("demo", "raw", 0, 80, 4, 0, (effect,), ()), TableFormat.TABLE)
    shown = capsys.readouterr().out
    assert "<0.001" in shown
    assert "0.000" not in shown


@pytest.mark.parametrize("form", ["table", "markdown", "csv"])
def test_an_explanation_for_people(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    difference = PairedDifference(-0.25, Interval(-0.5, 0.125), 3, 1, 8, 0.625)
    effect = Effect("resizing", "squashed | cropped", 2, difference, 5)
    explanation = Explanation("demo", "raw", 0, 8, 4, 0, (effect,), (Untested("EXIF", "none there"),))
    print_explanation(explanation, TableFormat(form))
    shown = capsys.readouterr().out
    if form == "csv":
        (row,) = csv.DictReader(io.StringIO(shown))
        assert row == {
            "cause": "resizing", "change": "squashed | cropped", "prec@1": "0.25", "difference": "-0.25",
            "low": "-0.5", "high": "0.125", "level": "0.95", "p_value": "0.625", "n": "8", "n_changed": "5",
        }  # fmt: skip
        return
    assert "demo, templates: raw; as the papers did: 50.00 % (21.52 to 78.48) = 4 / 8 images" in shown
    (line,) = (line for line in shown.splitlines() if "squashed" in line)
    assert re.search(r"25\.00 +\|? *-25\.00 +\|? *-50\.00 to \+12\.50 +\|? *0\.625 +\|? *5", line)
    if form == "markdown":  # a bar within a cell would end it
        assert line.count("|") == shown.splitlines()[2].count("|")
    assert "none there" in shown
