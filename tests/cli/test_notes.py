"""The library's notes on a fallback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

import zsretrieve as zs
from zsretrieve.demo import words
from zsretrieve.demo.scenes import BACKGROUNDS, COLOURS, FILLS, RELATIONS, SHAPES, SIZES

# A machine whose GPU FAISS sees, but cannot use.
BROKEN_GPU = """
import sys
from zsretrieve.backends import faiss_gpu, gpu_probe
from zsretrieve.system import hardware
hardware._NODES = (sys.executable,)
faiss_gpu.count = lambda: 1
gpu_probe._try = lambda number: "crashed (SIGABRT)"
from zsretrieve.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    zs.build_gallery(pictures(root / "photos", 5), root / "gallery", HashingEncoder())
    return root


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    zs.build_gallery(pictures(root / "photos", 4), root / "gallery", "demo")
    return root / "gallery"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_gpu_that_faiss_cannot_use_is_reported_in_one_line(world: Path, quiet: bool) -> None:
    query = next((world / "photos").rglob("*.png"))
    words = ["search", "gallery", str(query), "--format", "json", *(["--quiet"] if quiet else [])]
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_GPU, *words],
        cwd=world, env={**os.environ, "ZSRETRIEVE_CACHE": str(world / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 4
    note = (
        "FAISS cannot search on GPU 0: its test crashed (SIGABRT). The index stays on the CPU. "
        "For a fix, run: zsretrieve doctor"
    )
    assert done.stderr.splitlines() == ([] if quiet else ["trying FAISS on GPU 0 ...", note])


@pytest.mark.parametrize(
    ("query", "noted"),
    [
        ("a dog on the beach", True),
        ("a dog - 0.5:cats", True),
        ("a green dog", False),
        ("a photo of the", False),
        ("A Red, STAR.", False),
    ],
)
def test_words_that_the_bundled_model_does_not_know(small_demo: Path, run_cli: Run, query: str, noted: bool) -> None:
    done = run_cli("search", small_demo, query, "--format", "json")
    assert len(json.loads(done.stdout)) == 4
    assert (f"no word of '{query}'" in done.stderr) is noted


def test_the_known_words_are_those_of_the_scenes() -> None:
    names = " ".join([*SIZES, *FILLS[1:], *COLOURS, *SHAPES, *BACKGROUNDS, *RELATIONS, "background"]).split()
    assert set(names) - {"of"} == words.KNOWN
    assert not words.unknown(["an image", ""])
