"""The plain install, without torch, open_clip and FAISS: what it does, and what it refuses, in one line and at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kits.without import EXTRAS, without

import zsretrieve as zs

Done = subprocess.CompletedProcess[str]

# Runs each of the commands on stdin, a JSON list of words, in a process of its own: a copy of one that has imported
# what all of them need, and loaded no engine.
_EACH = """
import json, multiprocessing, os, pathlib, sys
import pyarrow.parquet, rich.progress, zsretrieve.api.evaluation, zsretrieve.api.gallery, zsretrieve.cli.app
from kits.forked import command_line
context, folder = multiprocessing.get_context("fork"), pathlib.Path.cwd()
for words in json.load(sys.stdin):
    streams = [folder / ".stdin", folder / ".stdout", folder / ".stderr"]
    streams[0].touch()
    process = context.Process(target=command_line, args=(words, folder, streams, {}))
    process.start()
    process.join()
    print(json.dumps([words, process.exitcode, streams[1].read_text(), streams[2].read_text()]))
"""


def python(*words: str, cwd: Path | None = None, given: str = "", **variables: str) -> Done:
    """A fresh interpreter without the packages of extras."""
    env = without(*EXTRAS, **variables)
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, input=given, env=env)


@dataclass(frozen=True)
class Install:
    """A folder in which the commands of a plain install run, with a cache of its own."""

    folder: Path

    def run(self, *words: str | Path) -> Done:
        return self.each([[str(word) for word in words]])[0]

    def each(self, commands: list[list[str]]) -> list[Done]:
        """Run commands one after the other."""
        ran = python("-c", _EACH, cwd=self.folder, given=json.dumps(commands), ZSRETRIEVE_CACHE=str(self.cache))
        assert ran.returncode == 0, ran.stderr
        return [Done(*json.loads(line)) for line in ran.stdout.splitlines()]

    @property
    def cache(self) -> Path:
        return self.folder / "cache"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Install:
    return Install(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """Six of the classes of scenes."""
    root = tmp_path_factory.mktemp("photos")
    for folder in sorted(scene_folder.iterdir())[:6]:
        shutil.copytree(folder, root / folder.name)
    return root


@pytest.fixture(scope="module")
def built(plain: Install, photos: Path) -> Path:
    """A gallery ``gallery`` and prototypes ``prototypes`` in the folder in which ``plain`` runs."""
    names = ",".join(sorted(path.name for path in photos.iterdir()))
    commands = [
        ["index", "gallery", str(photos), "gallery", "--model", "demo"],
        ["index", "prototypes", "prototypes", "--labels", names, "--templates", "standard", "--model", "demo"],
    ]
    for done in plain.each(commands):
        assert done.returncode == 0, done.stderr
    return photos


def test_the_packages_are_hidden_from_imports_and_metadata() -> None:
    code = f"""
import importlib.util, importlib.metadata
found = [name for name in {EXTRAS!r} if importlib.util.find_spec(name)]
for name in ("torch", "open_clip_torch", "faiss-gpu", "faiss-cpu"):
    try:
        found.append(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
try:
    import torch
except ModuleNotFoundError:
    print(found)
"""
    assert python("-c", code).stdout == "[]\n"


JOBS = [
    ["--help"],
    ["demo"],
    ["doctor", "--offline"],
    ["models", "list"],
    ["models", "list", "--all"],
    ["models", "show", "demo"],
    ["models", "show", "ViT-B-32/openai"],
    ["models", "cache", "list"],
    ["prompts", "list"],
    ["prompts", "show", "imagenet1k"],
    ["index", "info", "gallery"],
    ["index", "verify", "gallery"],
    ["index", "duplicates", "gallery"],
    ["index", "export", "gallery", "exported", "--as", "npy"],
    ["index", "import", "exported", "imported", "--model", "demo"],
    ["index", "verify", "imported"],
    ["search", "gallery", "a photo of a red star"],
    ["search", "gallery", "PHOTO"],
    ["classify", "gallery", "--labels", "red star,blue arrow"],
    ["evaluate", "gallery", "--prototypes", "prototypes", "--report", "report.html"],
    ["evaluate", "PHOTOS", "--classes", "scenes", "--model", "demo"],
    ["prompts", "compare", "gallery", "--classes", "scenes", "--templates", "raw", "--templates", "standard"],
    ["probe", "gallery", "probed"],
]


def test_main_jobs_run(plain: Install, built: Path) -> None:
    places = {"PHOTOS": str(built), "PHOTO": str(next(built.rglob("*.png")))}
    for done in plain.each([[places.get(word, word) for word in words] for words in JOBS]):
        assert done.returncode == 0, (done.args, done.stderr)
        assert done.stdout or done.stderr, done.args


def test_hits_are_those_of_an_install_with_everything(plain: Install, built: Path, tmp_path: Path) -> None:
    zs.build_gallery(built, tmp_path / "gallery", zs.Model("demo", zs.Compute(device="cpu")))
    done = plain.run("search", "gallery", "a photo of a red star", "--format", "json", "--device", "cpu")
    hits = zs.search(tmp_path / "gallery", "a photo of a red star", zs.Model("demo", zs.Compute(device="cpu")))
    rows = json.loads(done.stdout)
    assert [(row["id"], row["score"]) for row in rows] == [(hit.id, hit.to_dict()["score"]) for hit in hits]


def test_the_doctor_takes_missing_extras_for_a_choice(plain: Install) -> None:
    found = json.loads(plain.run("doctor", "--offline", "--format", "json").stdout)
    findings = {finding["name"]: finding for finding in found["findings"]}
    assert found["healthy"]
    assert findings["extra models"]["status"] == findings["FAISS distribution"]["status"] == "ok"
    assert findings["engine for models"]["found"].startswith("auto is openvino")
    assert findings["engine for indexes"]["found"] == "auto is numpy on cpu"
    assert not findings.keys() & {"torch", "torchvision", "FAISS", "torch cache"}


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of a family that only torch converts. Its weights are not looked into before that."""
    folder = tmp_path_factory.mktemp("resnet")
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    return f"local-dir:{folder}"


REFUSED = [
    (["index", "gallery", "PHOTOS", "OUT", "--model", "RESNET"], "converting 'RESNET'"),
    (["index", "prototypes", "OUT", "--labels", "a,b", "--model", "RESNET"], "converting 'RESNET'"),
    (["classify", "PHOTOS", "--labels", "a,b", "--model", "RESNET"], "converting 'RESNET'"),
    (["evaluate", "PHOTOS", "--classes", "scenes", "--model", "RESNET"], "converting 'RESNET'"),
    (["models", "export", "RESNET"], "converting 'RESNET' (its image tower is a ResNet)"),
    (["index", "gallery", "PHOTOS", "OUT", "--model", "demo", "--engine", "torch"], "--engine torch"),
    (["index", "gallery", "PHOTOS", "OUT", "--model", "demo", "--compile"], "--compile"),
    (["index", "gallery", "PHOTOS", "OUT", "--model", "demo", "--device", "cuda"], "--device cuda"),
    (["classify", "PHOTOS", "--labels", "a,b", "--model", "demo", "--device", "cuda:0"], "--device cuda:0"),
    (["search", "gallery", "anything", "--device", "cuda", "--no-query-cache"], "--device cuda"),
    (["probe", "PHOTOS", "OUT", "--model", "timm:resnet50.a1_in1k"], "'timm:resnet50.a1_in1k'"),
    (["reproduce", "--plan"], "planning a run"),
    (["reproduce", "PHOTOS"], ""),
    (["reproduce", "explain", "demo", "PHOTOS"], "explaining a figure"),
]


def test_what_needs_an_extra_says_so_at_once(plain: Install, built: Path, resnet: str) -> None:
    places = {"PHOTOS": str(built), "OUT": "refused", "RESNET": resnet}
    commands = [[places.get(word, word) for word in words] for words, _ in REFUSED]
    for done, (_, what) in zip(plain.each(commands), REFUSED, strict=True):
        assert (done.returncode, done.stdout) == (1, ""), done
        error, hint = done.stderr.splitlines()[-2:]
        assert error.startswith(f"error: {what.replace('RESNET', resnet)}"), done
        assert error.endswith(" needs PyTorch and open_clip"), done
        assert hint.startswith("hint: ")
        assert hint.endswith("'zsretrieve[models]'")
        assert "finding images" not in done.stderr
    assert not (plain.folder / "refused").exists()


def test_approximate_indexes_need_faiss_and_say_so_at_once(plain: Install, built: Path) -> None:
    commands = [
        ["index", "kind", "gallery", "HNSW32"],
        ["index", "gallery", str(built), "refused", "--model", "demo", "--index", "HNSW32"],
    ]
    for done in plain.each(commands):
        assert (done.returncode, done.stdout) == (1, ""), done
        error, hint = done.stderr.splitlines()[-2:]
        assert error == "error: the index kind 'HNSW32' needs FAISS"
        assert hint.endswith(("'zsretrieve[cpu]'", "'zsretrieve[gpu]'"))
        assert "finding images" not in done.stderr
    assert not (plain.folder / "refused").exists()
    done = plain.run("index", "kind", "gallery", "auto")
    assert done.returncode == 0, done.stderr
    assert "is Flat: up to 200,000 are compared one by one" in done.stderr


def test_indexes_stay_on_the_cpu_without_faiss(plain: Install, built: Path) -> None:
    done = plain.run("evaluate", "gallery", "--prototypes", "prototypes", "--device", "cuda")
    assert done.returncode == 0, done.stderr
    assert "FAISS is not installed. The index stays on the CPU. To add it: " in done.stderr
    assert "'zsretrieve[gpu]'" in done.stderr
