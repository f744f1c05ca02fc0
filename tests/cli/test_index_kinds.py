"""Index kinds from the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Run
from kits.calibrated import calibrated
from kits.hashing_encoder import HashingEncoder
from kits.output_page import check
from kits.vector_gallery import vector_gallery
from PIL import Image
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.store.folder import writing
from zsretrieve.system import extras

KIND = "IVF16,SQ8"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = vector_gallery(tmp_path_factory.mktemp("kinds") / "gallery", calibrated(2000, 32, 5).images)
    done = CliRunner().invoke(app, ["index", "kind", str(out), KIND])
    assert done.exit_code == 0, done.output
    assert f"{out}: {KIND}; searches may miss a few images, unless --exact is given" in " ".join(done.output.split())
    return out


def test_info_shows_it(made: Path) -> None:
    shown = CliRunner().invoke(app, ["index", "info", str(made)]).output
    assert "covers 2,000 of 2,000 rows" in shown
    assert KIND in shown
    content = json.loads(CliRunner().invoke(app, ["index", "info", str(made), "--format", "json"]).output)
    check(content, "index info")
    assert content["approximate"]["kind"] == KIND


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_search_says_that_it_is_approximate(made: Path, run_cli: Run, form: str) -> None:
    ask = ["search", made, "id:5", "--format", form]
    done = run_cli(*ask)
    assert done.returncode == 0, done.stderr
    line = "approximate: the index may have missed a few images; --exact compares them all"
    assert line in (done.stdout if form == "table" else done.stderr)
    done = run_cli(*ask, "--exact")
    assert done.returncode == 0, done.stderr
    assert "approximate" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Flat", "flat", "Auto"])
def test_back_to_flat(made: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    done = CliRunner().invoke(app, ["index", "kind", str(copy), name])
    assert "every search is exact" in done.output
    assert zs.verify(copy) == []


def test_info_shows_that_it_is_not_made_yet(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    zs.remove(copy, where="id >= 0")
    shown = " ".join(CliRunner().invoke(app, ["index", "info", str(copy)]).output.split())
    assert f"{KIND}, not made yet; every image is compared" in shown


def test_a_gallery_is_built_with_it(scene_folder: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "out"
    done = run_cli("index", "gallery", scene_folder, out, "--model", "demo", "--index", "IVF9,SQ8")
    assert done.returncode == 0, done.stderr
    manifest = zs.read_manifest(out)
    assert manifest.approximate is not None
    assert (manifest.factory, manifest.approximate.rows, manifest.building) == ("IVF9,SQ8", 360, None)
    assert zs.verify(out) == []
    made = manifest.approximate
    with writing(out) as writer:
        writer.commit(replace(manifest, approximate=replace(made, effort=replace(made.effort, depth=77))))
    done = run_cli("index", "rebuild", out)
    assert done.returncode == 0, done.stderr
    assert zs.read_manifest(out).approximate.effort.depth == 77
    assert zs.read_manifest(out).approximate.files != manifest.approximate.files
    done = run_cli("index", "gallery", scene_folder, out, "--model", "demo", "--index", "auto", "--force")
    assert done.returncode == 0, done.stderr
    assert zs.read_manifest(out).factory == "Flat"


def test_too_few_readable_images_are_in_the_last_line(scene_folder: Path, tmp_path: Path, run_cli: Run) -> None:
    photos = Path(shutil.copytree(scene_folder, tmp_path / "photos"))
    for path in sorted(photos.rglob("*.*"))[:20]:
        path.write_bytes(b"junk")
    done = run_cli("index", "gallery", photos, tmp_path / "out", "--model", "demo", "--index", "IVF9,SQ8")
    assert done.returncode == 0, done.stderr
    assert "340 images" in done.stderr
    assert "the index IVF9,SQ8 was not made, so every search is exact" in done.stderr
    assert "needs 351 or more images, and there are 340" in done.stderr


def test_what_cannot_be_is_refused_before_any_work(scene_folder: Path, tmp_path: Path, run_cli: Run) -> None:
    done = run_cli("index", "gallery", scene_folder, tmp_path / "out", "--model", "demo", "--index", "IVF64,SQ8")
    assert done.returncode == 2
    assert "the index kind 'IVF64,SQ8' needs 2,496 or more images, and there are 360" in done.stderr
    assert "IVF9" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_faiss_kinds_are_refused_at_once(
    scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "has_faiss", lambda: False)
    monkeypatch.setattr("zsretrieve.api.gallery.FLAT_UP_TO", 100)
    monkeypatch.setattr("zsretrieve.api.gallery.calibrate_once", lambda *_: pytest.fail("there is work"))
    for kind, what in (("HNSW32", "the index kind 'HNSW32'"), ("auto", "an index of more than 100 images")):
        with pytest.raises(zs.OptionalDependencyError, match=f"{what} needs FAISS"):
            zs.build_gallery(scene_folder, tmp_path / "out", zs.Model("demo"), kind=kind)
    assert not (tmp_path / "out").exists()


def test_auto_needs_no_faiss_where_it_takes_flat(
    small_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "has_faiss", lambda: False)
    for demands in ({}, {"memory": "2GB"}):
        assert zs.set_index_kind(small_gallery, "auto", **demands).factory == "Flat"
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 30), "red").save(photos / "x.png")
    assert zs.build_gallery(photos, tmp_path / "out", HashingEncoder(), kind="auto").manifest.factory == "Flat"


def test_auto_says_why(made: Path, tmp_path: Path, run_cli: Run) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    done = run_cli("index", "kind", copy, "auto", "--memory", "2GB", "--recall", "0.99")
    assert done.returncode == 0, done.stderr
    assert "the index kind for 2,000 images is Flat: up to 200,000 are compared one by one" in done.stderr
    assert "every search is exact" in done.stderr


def test_an_index_is_made_within_memory(scene_folder: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "out"
    build = ["index", "gallery", scene_folder, out, "--model", "demo", "--index", "IVF9,SQ8", "--memory"]
    refused = run_cli(*build, "10kB")
    assert refused.returncode != 0
    assert "the index IVF9,SQ8 of 360 images takes " in refused.stderr
    assert "and the memory is 10 kB" in refused.stderr
    assert not out.exists(), "nothing was encoded"
    done = run_cli(*build, "1GB")
    assert done.returncode == 0, done.stderr
    assert zs.read_manifest(out).approximate.memory == 10**9
    done = run_cli("index", "kind", out, "SQ8", "--memory", "10kB")
    assert (done.returncode != 0, "Traceback" in done.stderr) == (True, False)
    assert "chooses one" in done.stderr
    done = run_cli("index", "compact", out)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Flat", "--memory", "1GB"], "the kind Flat needs no memory of its own"),
        (["SQ8", "--recall", "0.9"], "recall is for the kind auto"),
        (["auto", "--recall", "2"], "recall must be above 0 and at most 1, got 2"),
        (["SQ8", "--memory", "lots"], "'lots' is not an amount of memory"),
    ],
)
def test_demands_that_make_no_sense(made: Path, run_cli: Run, arguments: list[str], said: str) -> None:
    before = (made / "manifest.json").read_bytes()
    done = run_cli("index", "kind", made, *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert (made / "manifest.json").read_bytes() == before
