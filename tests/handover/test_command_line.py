"""Handing over as people type it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of nine scenes, of which one file is gone by now, and prototypes; nothing has to be encoded."""
    root = tmp_path_factory.mktemp("handed-over")
    for name in ("red circle", "blue star", "green heart"):
        shutil.copytree(scene_folder / name, root / "photos" / name)
    encoder = HashingEncoder()
    zs.build_gallery(root / "photos", root / "gallery", encoder)
    zs.build_prototypes(root / "classes", "red circle,blue star", encoder, templates="raw")
    next((root / "photos" / "red circle").iterdir()).unlink()
    return root


def test_sorted_and_exported_at_once(run_cli: Run, world: Path, tmp_path: Path) -> None:
    words = ["classify", "gallery", "-p", "classes", "--reject-below", "0.01", "--by", "margin", "--format", "csv",
             "--skipped", tmp_path / "skipped.csv"]  # fmt: skip
    out = ["--export", tmp_path / "coco.json", "--as", "coco", "--sort-into", tmp_path / "sorted"]
    done = run_cli(*words, *out, cwd=world)
    assert done.returncode == 0, done.stderr
    rows = [row for row in csv.DictReader(done.stdout.splitlines()) if row["rank"] == "1"]
    content = json.loads((tmp_path / "coco.json").read_text())
    names = {one["id"]: one["file_name"] for one in content["images"]}
    classes = {one["id"]: one["name"] for one in content["categories"]}
    assert {
        (str(world / "photos" / names[one["image_id"]]), classes[one["category_id"]]) for one in content["annotations"]
    } == {(row["path"], row["class_name"]) for row in rows if row["rejected"] == "False"}
    placed = {path.resolve(): path.parent.name for path in (tmp_path / "sorted").rglob("*.png")}
    assert placed == {
        Path(row["path"]): "unknown" if row["rejected"] == "True" else row["class_name"]
        for row in rows
        if Path(row["path"]).exists()
    }
    assert len(placed) == 8
    assert f"9 images -> {tmp_path / 'coco.json'}" in done.stderr
    assert f"8 images -> {tmp_path / 'sorted'}" in done.stderr
    assert "1 skipped" in done.stderr
    assert (tmp_path / "skipped.csv").read_text().splitlines()[1].endswith(",no such file")

    again = run_cli(*words, *out, cwd=world)
    assert (again.returncode, again.stdout) == (1, "")
    assert "there is already an export" in again.stderr
    assert "--force" in again.stderr
    assert run_cli(*words, *out, "--force", cwd=world).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--export", "x"], "--export and --as go together"),
        (["--copy"], "--copy has no effect"),
        (["--sort-into", "photos"], "exists and is not a sorted folder"),
        (["--sort-into", "x", "--export", "x/y", "--as", "csv"], "already writes"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_first(run_cli: Run, world: Path, options: list[str], message: str) -> None:
    done = run_cli("classify", "gallery", "-p", "classes", *options, cwd=world)
    assert done.returncode != 0
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert not (world / "x").exists()


def test_labels_of_a_gallery(world: Path) -> None:
    gallery = zs.open_gallery(world / "gallery")
    labels = zs.gallery_annotations(world / "gallery")
    assert labels.class_names == ("blue star", "green heart", "red circle")
    assert [labels.name_of(image.annotations[0]) for image in labels.images] == [item.label for item in gallery.items]
    some = zs.gallery_annotations(gallery, [5, 2], label="mine")
    assert [image.path for image in some.images] == [gallery.path_of(gallery.items[row]) for row in (5, 2)]
    assert {some.name_of(one) for image in some.images for one in image.annotations} == {"mine"}
    with pytest.raises(zs.QueryError, match="no image 99"):
        zs.gallery_annotations(gallery, [99])
