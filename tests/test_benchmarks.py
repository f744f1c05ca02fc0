"""The benchmarks run, at sizes at which they measure nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmarks leave what they make, with the cache of all tests: the demo's model is converted once."""
    made = tmp_path_factory.mktemp("work")
    (made / "cache").symlink_to(os.environ["ZSRETRIEVE_CACHE"], target_is_directory=True)
    return made


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules beside the benchmarks can be imported."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def benching(scripts: None) -> ModuleType:
    return importlib.import_module("benching")


@pytest.fixture
def bench_encode(scripts: None) -> ModuleType:
    loader = SourceFileLoader("bench_encode", str(SCRIPTS / "bench_encode"))
    spec = importlib.util.spec_from_loader("bench_encode", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def report(script: str, tmp_path: Path, *words: str | Path) -> dict[str, dict[str, Any]]:
    """The rows of the report of a benchmark, by their names."""
    file = tmp_path / "report.json"
    command = [sys.executable, SCRIPTS / script, "--repeats", "1", "--json", file, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert rows
    for row in rows:
        assert row["what"].split(":")[0][:20] in done.stdout
    return {row["what"]: row for row in rows}


@pytest.mark.benchmark
def test_bench_encode_converts_the_model_before_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "empty"))
    words = ("--model", "demo", "--device", "cpu", "--precision", "fp32", "--images", "2")
    rows = report("bench_encode", tmp_path, *words, "--work", tmp_path / "work")
    assert not [row for row in rows.values() if row["wanted"]]
    # The plain side loads torch, as converting does; measuring ours does not.
    plain = rows["plain loop, torch fp32"]["peak_bytes"]
    ours = [row["peak_bytes"] for name, row in rows.items() if "openvino" in name and row["peak_bytes"]]
    assert len(ours) == 2
    assert max(ours) < plain / 2


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("model", "device", "judged"), [("ViT-B-32", "cpu", 2), ("ViT-B-32", "cuda", 0), ("demo", "cpu", 0)]
)
def test_what_bench_encode_judges(
    bench_encode: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: bool,
    model: str,
    device: str,
    judged: int,
) -> None:
    photos = bench_encode.generated_photos(tmp_path / "photos", 8)
    sizes = []

    def run(side: str, options: Any, listing: Path) -> dict[str, Any]:
        sizes.append(len(listing.read_text().splitlines()))
        figures = {"encoding": "an engine", "precision": "bf16", "device": device, "seconds": 1.0}
        return {**figures, "images": sizes[-1], "rate": 9.0, "peak": 100 + 5 * sizes[-1]}

    monkeypatch.setattr(bench_encode, "_run", run)
    monkeypatch.setattr(bench_encode, "_side", lambda *_: None)
    monkeypatch.setattr(bench_encode, "_ENOUGH", 2)
    monkeypatch.setattr(bench_encode.benching, "model_name", lambda name, work: name)
    file = tmp_path / "report.json"
    words = ["--repeats", "1", "--growth", "--model", model, "--json", str(file), "--work", str(tmp_path)]
    words += ["--photos", str(photos), "--images", "99"] if own else ["--images", "2"]
    monkeypatch.setattr("sys.argv", ["bench_encode", *words])
    bench_encode.main()
    rows = json.loads(file.read_text())["rows"]
    assert sizes == [*[8 if own else 2] * 3, 2, 4, 8]
    assert [row["unit"] for row in rows if row["wanted"]] == ["img/s"] * judged + ["times"]
    peak = rows[-1]
    assert (peak["what"], peak["met"]) == ("peak memory, 8 photos against 2", False)
    assert peak["median"] == 140 / 110


@pytest.mark.benchmark
def test_bench_prototypes(work: Path, tmp_path: Path) -> None:
    words = ("--model", "demo", "--precision", "fp32", "--classes", "2", "--ours", "2", "--work", work)
    rows = report("bench_prototypes", tmp_path, *words)
    apart = next(row for name, row in rows.items() if name.endswith("from the plain loop"))
    assert apart["met"] is True
    assert apart["wanted"] == "at most 1e-05 apart"


@pytest.mark.benchmark
def test_bench_startup(work: Path, tmp_path: Path) -> None:
    rows = report("bench_startup", tmp_path, "--model", "demo", "--dim", "128", "--vectors", "50", "--work", work)
    assert {"--help", "search", "search, query cached", "search, first of all"} < rows.keys()


def test_bench_search(tmp_path: Path) -> None:
    rows = report("bench_search", tmp_path, "--rows", "200", "--dim", "16")
    assert {"FAISS, 64 queries", "zsretrieve, 64 queries", "zsretrieve, range, 64 queries"} < rows.keys()


def test_bench_scale(tmp_path: Path) -> None:
    words = ("--folder", tmp_path / "work", "--sizes", "3k", "--dim", "32", "--queries", "20", "--memory", "2GB")
    kinds = ("Flat", "IVF64,PQ16x4fsr")
    plot = tmp_path / "scale.svg"
    rows = report("bench_scale", tmp_path, *words, "--plot", plot, "--kinds", *kinds)
    assert rows["3,000 IVF64,PQ16x4fsr: peak memory"]["met"] is True
    assert rows["3,000 IVF64,PQ16x4fsr: bytes, planned"]["median"] == pytest.approx(1, abs=0.02)
    assert plot.read_text().startswith("<?xml")
    results = json.loads((tmp_path / "report.json").read_text())["settings"]["results"]
    assert [result["kind"] for result in results] == list(kinds)
    assert results[0]["efforts"][0]["texts"] == 1
    assert [len(result["efforts"]) for result in results] == [1, 8]
    # The most that was looked at finds nearly all.
    assert all(result["efforts"][0]["texts"] > 0.95 for result in results)
    command = [sys.executable, SCRIPTS / "bench_scale", "--rungs", "--table", tmp_path / "report.json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| 3,000 | `IVF64,PQ16x4fsr` |" in shown
    assert '"IVF*,PQD/2x4fsr": Family(\n        3_000,\n        (\n            Rung(' in shown


@pytest.mark.benchmark
def test_bench_serve(work: Path, tmp_path: Path) -> None:
    words = ("--model", "demo", "--vectors", "50", "--seconds", "0.3", "--soak", "200", "--no-peer", "--work", work)
    rows = report("bench_serve", tmp_path, *words)
    for kind in ("texts", "repeats", "images"):
        for clients in ("1 client", "8 clients", "32 clients"):
            assert rows[f"demo, {kind}, {clients}: zsretrieve"]["median"] > 0
    assert rows["demo, 200 requests: errors"]["met"] is True


def whole_jobs(rows: dict[str, dict[str, Any]], sides: set[str]) -> None:
    """What a report of whole jobs has to say of each side, and that fp32 finds what the loop finds."""
    for side in sides:
        assert rows[f"8 photos to an index: {side}"]["median"] > 0
        assert rows[f"64 queries over 300 x {256 if len(sides) == 3 else 128}: {side}"]["median"] > 0
    for side in sides - {"clip-retrieval"}:
        assert rows[f"3 x 7 prompts: {side}"]["median"] > 0
        assert rows[f"text search from the shell: {side}"]["median"] > 0
    assert rows["photos, fp32: least cosine to the loop"]["met"] is True
    assert rows["prototypes, fp32: least cosine to the loop"]["met"] is True
    assert rows["start to the first batch: fp32"]["median"] < rows["8 photos to an index: zsretrieve fp32"]["median"]
    assert rows["the same in processor time: fp32"]["median"] > 1


@pytest.mark.benchmark
def test_bench_peers(work: Path, tmp_path: Path) -> None:
    words = ("--model", "demo", "--photos", "8", "--classes", "3", "--vectors", "300", "--no-peer", "--work", work)
    whole_jobs(report("bench_peers", tmp_path, *words, "--precision", "fp32"), {"tutorial loop", "zsretrieve fp32"})


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv makes the environments of the others")
def test_bench_peers_beside_clip_retrieval(work: Path, tmp_path: Path) -> None:
    words = ("--model", "ViT-S-32-alt", "--photos", "8", "--classes", "3", "--vectors", "300", "--work", work)
    whole_jobs(report("bench_peers", tmp_path, *words), {"clip-retrieval", "tutorial loop", "zsretrieve fp32"})


def test_every_form_of_a_name_goes_to_open_clip(benching: ModuleType, tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights.pt"
    checkpoint.touch()
    for name, expected in {
        "demo": (f"local-dir:{DEMO_FOLDER}", None),
        f"local-dir:{DEMO_FOLDER}": (f"local-dir:{DEMO_FOLDER}", None),
        "ViT-B-32/openai": ("ViT-B-32", "openai"),
        "ViT-B-32,openai": ("ViT-B-32", "openai"),
        f"ViT-B-32/{checkpoint}": ("ViT-B-32", str(checkpoint)),
        "hf-hub:org/repo": ("hf-hub:org/repo", None),
    }.items():
        assert benching.open_clip_name(name) == expected, name
