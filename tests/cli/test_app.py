"""The command line as a shell sees it: real subprocesses, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run
from kits.folders import file_named
from kits.models import write_model
from kits.pictures import pictures
from kits.waiting import PATIENCE_S, eventually

from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import staged

Done = "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, run_cli: Run) -> Path:
    """A folder of photos of some classes with one broken, a gallery of it and prototypes, built by the commands."""
    root = tmp_path_factory.mktemp("world")
    for name in ("red circle", "blue star", "green heart"):
        shutil.copytree(scene_folder / name, root / "photos" / name)
    (root / "photos" / "blue star" / "broken.png").write_bytes(b"no")
    done = run_cli("index", "gallery", "photos", "gallery", "--model", "demo", "--skipped", "skipped.csv", cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "1 skipped (listed in skipped.csv)" in done.stderr
    assert "9 images -> gallery" in done.stderr
    done = run_cli("index", "prototypes", "prototypes", "--classes", "scenes", "--model", "demo", cwd=root)
    assert done.returncode == 0, done.stderr
    assert "120 classes, 840 prompts -> prototypes" in done.stderr
    return root


@pytest.fixture(scope="module")
def many_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that encoding them lasts some seconds."""
    return pictures(tmp_path_factory.mktemp("many"), 2500)


def refused(done: subprocess.CompletedProcess[str], message: str, hint: str = "", *, code: int = 1) -> None:
    """A user-facing error: its exit code, ``error:`` and ``hint:`` on stderr, nothing on stdout, no traceback."""
    assert done.returncode == code, done
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-2].startswith("error: "), done.stderr
    assert lines[-1].startswith("hint: ")
    assert message in lines[-2], lines[-2]
    assert hint in lines[-1], lines[-1]
    assert "Traceback" not in done.stderr


def test_skipped_files_are_listed(world: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((world / "skipped.csv").read_text())))
    assert rows == [{"path": "blue star/broken.png", "reason": "not a readable image"}]


def test_info_and_verify(world: Path, run_cli: Run) -> None:
    done = run_cli("index", "info", world / "gallery")
    assert done.returncode == 0
    for word in ("gallery", "demo", "9 x 128, Flat", "openvino, ", "EXIF orientation"):
        assert word in done.stdout
    content = json.loads(run_cli("index", "info", world / "prototypes", "--format", "json").stdout)
    assert content == manifests.to_dict(manifests.read(world / "prototypes"))
    assert content["kind"] == "prototypes"
    assert content["templates_source"] == "scenes"
    done = run_cli("index", "verify", world / "gallery")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gallery: sound" in done.stdout


def test_classify_formats_agree(world: Path, run_cli: Run) -> None:
    base = ("classify", world / "photos", "--prototypes", world / "prototypes", "-k", "3")
    jsonl = run_cli(*base, "--format", "jsonl")
    assert jsonl.returncode == 0
    assert "1 skipped (list them with --skipped FILE); first: blue star/broken.png" in jsonl.stderr
    rows = [json.loads(line) for line in jsonl.stdout.splitlines()]
    assert len(rows) == 9
    assert set(rows[0]) == {"path", "predictions"}
    assert list(rows[0]["predictions"][0]) == ["rank", "class_id", "class_name", "score", "probability"]
    assert [p["rank"] for p in rows[0]["predictions"]] == [1, 2, 3]
    assert rows[0]["predictions"][0]["class_name"] == "blue star"
    assert Path(rows[0]["path"]).is_file()
    assert json.loads(run_cli(*base, "--format", "json").stdout) == rows
    flat = list(csv.DictReader(io.StringIO(run_cli(*base, "--format", "csv").stdout)))
    assert list(flat[0]) == ["path", "rank", "class_id", "class_name", "score", "probability"]
    assert [r["class_name"] for r in flat] == [p["class_name"] for r in rows for p in r["predictions"]]
    from_gallery = run_cli("classify", world / "gallery", *base[2:], "--format", "json", "-qv")
    assert from_gallery.stderr == ""
    assert [r["predictions"] for r in json.loads(from_gallery.stdout)] == [r["predictions"] for r in rows]
    table = run_cli(*base)
    assert "blue star" in table.stdout
    assert "%" in table.stdout


def test_classify_with_labels_and_single_files(world: Path, run_cli: Run) -> None:
    photo = sorted((world / "photos" / "red circle").iterdir())[0]
    done = run_cli(
        "classify", photo, photo.with_name(photo.name), "--labels", "red circle,blue star,blue star", "--model", "demo",
        "--templates", "scenes", "--format", "jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["path"] for r in rows] == [str(photo)] * 2
    assert rows[0]["predictions"][0]["class_name"] == "red circle"
    assert [p["class_id"] for p in rows[0]["predictions"][1:]] == [1, 2]
    assert "ties go to the lowest class id: 'blue star'" in done.stderr
    listed = run_cli(
        "classify", "-", "--prototypes", world / "prototypes", "--format", "jsonl", stdin=f"{photo}\n"
    )  # fmt: skip
    assert json.loads(listed.stdout)["path"] == str(photo)


def test_a_prompt_longer_than_the_context_is_told(world: Path, run_cli: Run) -> None:
    long = "word " * 40
    done = run_cli("index", "prototypes", world / "long", "--classes", f"cat,{long}", "--model", "demo")
    assert done.returncode == 0
    assert "1 prompt is longer than the model's 32 tokens and cut:\n  'a photo of a word word" in done.stderr


def test_search(world: Path, run_cli: Run) -> None:
    done = run_cli("search", world / "gallery", "a photo of a red circle.", "-k", "2", "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(r) for r in rows] == [["query", "rank", "id", "path", "score", "missing", "box"]] * 2
    assert all("red circle" in r["path"] for r in rows)
    photo = rows[0]["path"]
    found = run_cli("search", world / "gallery", photo, "-q", "blue star + red circle", "--format", "csv")
    by_picture = [r for r in csv.DictReader(io.StringIO(found.stdout)) if r["query"] == photo]
    assert len(by_picture) == 8, "the query's own file is left out"
    assert photo not in {r["path"] for r in by_picture}
    table = run_cli("search", world / "gallery", "blue star")
    assert "rank" in table.stdout


def test_evaluate(world: Path, run_cli: Run) -> None:
    base = ("--prototypes", world / "prototypes", "--format", "json")
    from_gallery = json.loads(run_cli("evaluate", world / "gallery", *base).stdout)
    from_folder = json.loads(run_cli("evaluate", world / "photos", *base).stdout)
    assert from_gallery == from_folder
    assert from_gallery["n_scored"] == 9
    assert from_gallery["n_skipped"] == 1
    assert from_gallery["prec@1"] == from_gallery["n_correct"] / 9
    assert {"prec@5", "mean_per_class_recall", "n_classes", "per_class", "confusions"} <= set(from_gallery)
    table = run_cli("evaluate", world / "gallery", "--prototypes", world / "prototypes").stdout
    assert "Prec@1" in table
    assert "/ 9 images" in table
    assert "could not be read" in table


def test_models_and_prompts(run_cli: Run) -> None:
    listed = run_cli("models", "list", "siglip", "b-16", "256", "--format", "json")
    assert "no model matches 'zzz'" in run_cli("models", "list", "zzz").stderr
    assert {"ViT-B-16-SigLIP-256/webli"} <= {m["name"] for m in json.loads(listed.stdout)}
    assert "quick_gelu" in run_cli("models", "show", "ViT-B-32/openai").stdout
    assert json.loads(run_cli("models", "show", "demo", "--format", "json").stdout)["context_length"] == 32
    assert run_cli("models", "list", "siglip", "b-16", "256").stdout.count("SigLIP") >= 1
    sets = json.loads(run_cli("prompts", "list", "--format", "json").stdout)
    assert {k: v for k, v in next(s for s in sets if s["name"] == "openai80").items() if k != "source"} == {
        "name": "openai80",
        "classes": 0,
        "templates": 80,
    }
    assert run_cli("prompts", "show", "openai7").stdout.splitlines()[0] == "itap of a {}."
    assert run_cli("prompts", "show", "imagenette").stdout.splitlines()[0] == "n01440764\ttench"
    assert len(run_cli("prompts", "list").stdout.splitlines()) > 8


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("index", "gallery", "photos", "x", "--model", "ViT-B32/openai"), "no architecture 'ViT-B32'", "ViT-B-32/"),
        (("index", "gallery", "photos", "x", "--model", "ViT-B-32/openia"), "has no tag 'openia'", "openai"),
        (("index", "gallery", "photos", "x"), "could not load the weights", "demo"),
        (("index", "gallery", "nowhere", "x", "--model", "demo"), "no folder or file 'nowhere'", "path"),
        (("index", "gallery", "gallery/segments", "x", "--model", "demo"), "no images in", ".jpg"),
        (("index", "gallery", "photos", "gallery", "--model", "demo"), "there is already an index", "--force"),
        (("index", "gallery", "photos", "photos", "--model", "demo", "--force"), "left alone", "another"),
        (("index", "gallery", "photos", "x", "--model", "demo", "--strict"), "broken.png", "--strict"),
        (("index", "gallery", "photos", "x", "--model", "demo", "--device", "cuda:7"), "cuda:7", "cpu"),
        (("index", "prototypes", "x", "--classes", "imagnet1k", "--model", "demo"), "no class set", "imagenet1k"),
        (("index", "prototypes", "x", "-c", "a,b", "-t", "photo", "--model", "demo"), "no template set", "{}"),
        (("search", "gallery", "nowhere.jpg"), "no image 'nowhere.jpg'", "--literal"),
        (("search", "prototypes", "red"), "is a prototype index, but a gallery index is needed", "classify"),
        (("search", "photos", "red"), "is not an index", "zsretrieve index gallery photos @photos"),
        (("search", "gallery", ""), "the query is empty", "text"),
        (("evaluate", "photos", "-p", "nowhere"), "no index at", "index"),
        (("evaluate", "photos/red circle", "-p", "prototypes"), "none of the images has a label", "--ground-truth"),
        (("prompts", "show", "nothing"), "no set or file 'nothing'", "raw"),
        (("classify", "gallery", "-p", "prototypes", "--strict"), "skipped when the gallery was built", "--strict"),
        (("index", "gallery", "photos", "x", "--model", "ViT-B-32"), "not a model name", "models list ViT-B-32"),
        (("index", "gallery", "photos", "x", "--model", "Demo"), "not a model name", "mean demo"),
        (("index", "info", "photos"), "is not an index", "index"),
    ],
)  # fmt: skip
def test_errors(world: Path, run_cli: Run, arguments: tuple[str, ...], message: str, hint: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*")}
    refused(run_cli(*arguments, cwd=world), message, hint)
    assert {p: p.stat().st_mtime_ns for p in world.rglob("*")} == before, "an error must leave everything as it was"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("classify", "photos", "-p", "prototypes", "-k", "0"), "k is 0", "1 or more"),
        (("classify", "photos", "-p", "prototypes", "-k", "121"), "the index holds 120 classes", "at most 120"),
        (("classify", "photos", "-p", "prototypes", "--reject-below", "2"), "between 0 and 1, got 2", "fraction"),
        (("search", "gallery", "red", "-k", "0"), "k is 0", "1 or more"),
        (("search", "gallery", "red", "--dedup", "--near", "2"), "2", ""),
        (("evaluate", "gallery", "-p", "prototypes", "-k", "0"), "positive integers", ""),
        (("evaluate", "gallery", "-p", "prototypes", "-k", "121"), "there are 120 classes", "at most 120"),
        (("evaluate", "gallery", "-p", "prototypes", "--wanted-precision", "0"), "a fraction, got 0", "0.95"),
        (("classify", "photos", "-p", "prototypes", "--where", "id = 1"), "--where works only on a gallery", "index"),
        (("classify", "photos", "-l", ",".join(["a label"] * 60) + ",", "-k", "99"), "holds 60 classes", "60"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_wrong_usage(
    world: Path, run_cli: Run, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    refused(run_cli(*arguments, cwd=world), message, hint, code=2)


def test_different_spaces_are_refused(world: Path, run_cli: Run, tmp_path: Path) -> None:
    model = write_model("vit-quickgelu", tmp_path / "model")
    made = run_cli("index", "prototypes", tmp_path / "p", "-c", "a,b", "--model", f"local-dir:{model}")
    assert made.returncode == 0, made.stderr
    refused(run_cli("evaluate", world / "gallery", "-p", tmp_path / "p"), "differ in weights", "--model")
    refused(run_cli("classify", world / "gallery", "-p", tmp_path / "p"), "('demo') and the prototype index", "--model")
    refused(
        run_cli("search", world / "gallery", "x", "--model", f"local-dir:{model}"),
        "the index was built with 'demo', not",
        "--model",
    )
    by_name = run_cli("search", world / "gallery", "x", "--model", "ViT-B-32/openai")
    refused(by_name, "built with 'demo', not with 'ViT-B-32/openai'", "--model")


def test_damage_is_refused(world: Path, run_cli: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(world / "gallery", tmp_path / "gallery"))
    path = file_named(copy, "index.faiss")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(run_cli("search", copy, "red"), "its digest does not match", "index repair")
    done = run_cli("index", "verify", copy)
    assert done.returncode == 1
    assert "index.faiss' has changed" in done.stderr
    assert "hint: " in done.stderr
    path.write_bytes(whole)
    manifest = copy / manifests.NAME
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b'"count": 9', b'"count": 8'))
    refused(run_cli("search", copy, "red"), "is damaged", "index repair")
    content = {**json.loads(good), "format_version": 99}
    manifest.write_text(json.dumps(content))
    refused(run_cli("search", copy, "red"), "format version 99", "Upgrade")


def test_unwritable_output(world: Path, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_cli("index", "prototypes", tmp_path / "file" / "x", "-c", "a,b", "--model", "demo")
    refused(done, "cannot be written", "permissions")


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", "photos"),
        ("classify", "photos", "--labels", "a,b", "--prototypes", "p"),
        ("classify", "photos", "--prototypes", "p", "--templates", "raw"),
        ("nonsense",),
        ("index", "gallery", "photos"),
        ("search", "g", "q", "--format", "xml"),
        ("index", "gallery", "photos", "x", "--precision", "fp8"),
        ("index", "gallery", "photos", "x", "--skipped", "nowhere/x.csv"),
    ],
)
def test_wrong_usage_is_2(run_cli: Run, arguments: tuple[str, ...]) -> None:
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_words_behind_two_dashes_are_no_options(world: Path, run_cli: Run) -> None:
    done = run_cli("search", world / "gallery", "-k", "1", "--format", "json", "--", "-q", "circle")
    assert [row["query"] for row in json.loads(done.stdout)] == ["-q circle"]


def test_version_and_help(run_cli: Run) -> None:
    assert run_cli("--version").stdout.startswith("zsretrieve ")
    assert "demo" in run_cli("--help").stdout


@pytest.mark.parametrize(
    "module", ["typer", "zsretrieve.cli.output", "zsretrieve.encoders.catalog.bundled_prompts", "atexit"]
)
def test_an_interruption_while_it_starts_or_ends_is_one_line(module: str) -> None:
    """Interrupted by its own first import of a module, or at its very end."""
    code = (
        "import atexit, os, signal, sys\n"
        "def interrupt(*_):\n    os.kill(os.getpid(), signal.SIGINT)\n"
        f"name = {module!r}\n"
        "if name == 'atexit':\n    atexit.register(interrupt)\n"
        "sys.addaudithook(lambda event, a: interrupt() if event == 'import' and a[0] == name != 'atexit' else None)\n"
        "sys.argv = ['zsretrieve', 'prompts', 'show', 'openai7']\n"
        "from zsretrieve.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted_leaves_no_half_index(many_pictures: Path, tmp_path: Path, number: int, code: int) -> None:
    """Interrupt while pictures are being encoded: what is left is nothing, or what the same command goes on with."""
    out = tmp_path / "deep" / "gallery"
    process = subprocess.Popen(
        [sys.executable, "-m", "zsretrieve", "index", "gallery", many_pictures, out, "--model", "demo"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    eventually(lambda: out.exists() or process.poll() is not None)
    time.sleep(0.5)
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert "Traceback" not in told
    begun = staged(out)
    if begun is None:
        assert not (tmp_path / "deep").exists()
    else:
        assert begun.count > 0
        assert [path.name for path in out.iterdir()] == [".building"]


def test_nohup_is_respected(scene_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "gallery"
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "zsretrieve", "index", "gallery", scene_folder, out, "--model", "demo"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    eventually(lambda: out.exists() or process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, told
    assert (out / manifests.NAME).is_file()


def test_interrupted_replacement_keeps_the_old_index(
    world: Path, many_pictures: Path, tmp_path: Path, run_cli: Run
) -> None:
    out = Path(shutil.copytree(world / "gallery", tmp_path / "gallery"))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    process = subprocess.Popen(
        [sys.executable, "-m", "zsretrieve", "index", "gallery", many_pictures, out, "--model", "demo", "--force"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    eventually(lambda: (out / ".building").exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "error: interrupted" in told
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and ".building" not in p.parts} == before
    assert run_cli("index", "verify", out).returncode == 0


def test_a_pipe_that_closes_early_is_no_drama(world: Path) -> None:
    command = f"{sys.executable} -m zsretrieve prompts show imagenet1k | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "n01440764\ttench\n"
    assert "Traceback" not in done.stderr


def test_names_that_are_no_utf_8_are_printed(world: Path, run_cli: Run, tmp_path: Path) -> None:
    photo = sorted((world / "photos" / "red circle").iterdir())[0]
    (tmp_path / "in").mkdir()
    shutil.copy(photo, os.path.join(os.fsencode(tmp_path / "in"), b"raw-\xff.png"))
    for form in ("table", "json", "jsonl", "csv"):
        done = run_cli("classify", "in", "-p", world / "prototypes", "--format", form, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "raw-\\udcff.png" in done.stdout


def test_a_gallery_of_a_gallery_s_pictures(world: Path, run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("index", "gallery", world / "gallery", tmp_path / "again", "--model", "demo")
    assert done.returncode == 0, done.stderr
    one, other = (
        run_cli("search", g, "red circle", "--format", "json") for g in (world / "gallery", tmp_path / "again")
    )
    assert [(r["path"], r["score"]) for r in json.loads(one.stdout)] == [
        (r["path"], r["score"]) for r in json.loads(other.stdout)
    ]


def test_classes_that_the_model_cannot_tell_apart_are_named(world: Path, run_cli: Run) -> None:
    done = run_cli("classify", world / "gallery", "--labels", "bird,snake,red circle", "--format", "json")
    assert "cannot distinguish these 2 classes, their vectors are equal: 'bird', 'snake'" in done.stderr


def test_fewer_than_five_classes_have_no_prec_at_5(world: Path, run_cli: Run, tmp_path: Path) -> None:
    classes = "red circle,blue star,green heart"
    assert run_cli("index", "prototypes", tmp_path / "p", "-c", classes, "--model", "demo").returncode == 0
    figures = json.loads(run_cli("evaluate", world / "gallery", "-p", tmp_path / "p", "--format", "json").stdout)
    assert figures["prec@5"] is None
    assert figures["prec@1"] == 1.0


def test_a_system_error_is_no_traceback(world: Path) -> None:
    command = f"{sys.executable} -m zsretrieve prompts show imagenet1k > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
