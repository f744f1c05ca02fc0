"""``--where``, ``--dedup`` and ``index duplicates`` as a shell sees them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from conftest import Run
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of two classes with one picture copied and one broken, and prototypes; no command needs a model."""
    root = tmp_path_factory.mktemp("filtered")
    for name in ("red circle", "blue star"):
        shutil.copytree(scene_folder / name, root / "photos" / name)
    first = sorted((root / "photos" / "red circle").iterdir())[0]
    shutil.copy(first, root / "photos" / "red circle" / "copy \udcff.png")
    (root / "photos" / "blue star" / "broken.png").write_bytes(b"no")
    encoder = HashingEncoder()
    zs.build_gallery(root / "photos", root / "gallery", encoder)
    zs.build_prototypes(root / "prototypes", "red circle,blue star", encoder)
    return root


def picture(world: Path) -> Path:
    return sorted((world / "photos" / "blue star").glob("[0-9]*.png"))[0]


def test_search_with_a_filter_and_without_repeats(world: Path, run_cli: Run) -> None:
    base = ("search", world / "gallery", picture(world), "--format", "json", "--where", "label = 'red circle'")
    done = run_cli(*base)
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)
    assert [Path(hit["path"]).parent.name for hit in hits] == ["red circle"] * 4
    distinct = json.loads(run_cli(*base, "--dedup", "--near", "1").stdout)
    assert len(distinct) == 3
    assert {hit["path"] for hit in distinct} < {hit["path"] for hit in hits}
    assert len(json.loads(run_cli(*base, "--dedup", "--near", "0.000001", "-k", "4").stdout)) < 4


def test_classify_and_evaluate_with_a_filter(world: Path, run_cli: Run) -> None:
    options = ("--prototypes", world / "prototypes", "--where", "label = 'red circle'")
    rows = json.loads(run_cli("classify", world / "gallery", *options, "--format", "json").stdout)
    assert len(rows) == 4
    done = run_cli("evaluate", world / "gallery", *options, "--format", "json")
    report = json.loads(done.stdout)
    assert (report["n_scored"], report["n_skipped"], report["where"]) == (4, 1, "label = 'red circle'")
    assert "1 skipped" in done.stderr
    table = run_cli("evaluate", world / "gallery", *options).stdout
    assert "only images where label = 'red circle'" in table
    assert "of the whole gallery" in table
    plain = run_cli("evaluate", world / "gallery", *options[:2], "--format", "json")
    assert json.loads(plain.stdout)["where"] is None


def test_a_filter_that_cannot_be_used_is_an_error_of_every_command(world: Path, run_cli: Run) -> None:
    prototypes = ("--prototypes", world / "prototypes")
    for words, where, message in (
        (("search", world / "gallery", picture(world)), "widht > 3", "no column 'widht'"),
        (("search", world / "gallery", picture(world)), "width > 99999", "no image of 7 matches the filter"),
        (("classify", world / "gallery", *prototypes), "1=1) union select (1", "cannot be read"),
        (("classify", world / "gallery", *prototypes), "width > 99999", "no image of 7 matches the filter"),
        (("evaluate", world / "gallery", *prototypes), "width", "is INTEGER, not true or false"),
        (("evaluate", world / "gallery", *prototypes), "width > 99999", "no image of 7 matches the filter"),
        (("index", "duplicates", world / "gallery"), "exists (from '/etc/passwd')", "a query of its own"),
    ):
        done = run_cli(*words, "--where", where)
        assert (done.returncode, done.stdout) == (1, ""), words
        error, hint = done.stderr.strip().splitlines()
        assert error.startswith("error: ")
        assert message in error
        assert hint.startswith("hint: ")


def test_wrong_usage(world: Path, run_cli: Run) -> None:
    prototypes = ("--prototypes", world / "prototypes")
    for words in (
        ("classify", world / "photos", *prototypes, "--where", "true"),
        ("evaluate", world / "photos", *prototypes, "--where", "true"),
        ("search", world / "gallery", "x", "--near", "0.9"),
        ("index", "duplicates", world / "gallery", "--near", "2"),
    ):
        done = run_cli(*words)
        assert (done.returncode, done.stdout) == (2, ""), words


@pytest.mark.parametrize("command", ["classify", "evaluate"])
def test_how_images_are_read_is_not_asked_of_a_gallery(world: Path, run_cli: Run, command: str) -> None:
    for option in (("--fast-decode",), ("--max-megapixels", "5"), ("--no-exif",)):
        done = run_cli(command, world / "gallery", "--prototypes", world / "prototypes", *option)
        assert (done.returncode, done.stdout) == (2, ""), option
        assert option[0] in done.stderr
    assert run_cli(command, world / "gallery", "--prototypes", world / "prototypes", "--exif").returncode == 0


def test_duplicates(world: Path, run_cli: Run) -> None:
    base = ("index", "duplicates", world / "gallery")
    done = run_cli(*base, "--exact-only", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "1 group; 1 image could be deleted, keeping one of each" in done.stderr
    (group,) = json.loads(done.stdout)
    assert list(group) == ["group", "kind", "lowest_score", "keep", "items"]
    assert (group["group"], group["kind"]) == (1, "exact")
    assert list(group["items"][0]) == ["id", "path", "score", "digest"]
    assert len({item["digest"] for item in group["items"]}) == 1
    assert group["lowest_score"] == pytest.approx(1.0, abs=1e-6)
    assert [json.loads(line) for line in run_cli(*base, "--exact-only", "--format", "jsonl").stdout.splitlines()] == [
        group
    ]
    rows = list(csv.DictReader(io.StringIO(run_cli(*base, "--exact-only", "--format", "csv").stdout)))
    assert list(rows[0]) == ["group", "kind", "lowest_score", "keep", "id", "path", "score", "digest"]
    assert [int(row["id"]) for row in rows] == [item["id"] for item in group["items"]]
    near = json.loads(run_cli(*base, "--near", "0.000001", "--format", "json").stdout)
    assert [group["kind"] for group in near][:2] == ["exact", "near"]
    table = run_cli(*base)
    assert "exact" in table.stdout
    assert r"copy \udcff.png" in table.stdout
    none = run_cli(*base, "--exact-only", "--where", "label = 'blue star'")
    assert (none.returncode, none.stdout) == (0, "")
    assert "0 groups" in none.stderr
    assert json.loads(run_cli(*base, "--exact-only", "--where", "label = 'blue star'", "--format", "json").stdout) == []
