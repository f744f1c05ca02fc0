"""Several data sets in one table, against evaluations one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run
from kits.pictures import Counting, pictures

import zsretrieve as zs
from zsretrieve.domain.errors import ClassMappingError, SourceError
from zsretrieve.metrics import wilson

CLASSES = ["class 0", "class 1", "class 2"]
SUITE = """
prototypes = "prototypes"

[[datasets]]
name = "the first"
source = "first"

[[datasets]]
name = "own/photos"
source = "second"
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    pictures(tmp_path / "first", 30)
    pictures(tmp_path / "second", 12, first=100)
    zs.build_prototypes(tmp_path / "prototypes", CLASSES, Counting(), templates="raw")
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path / "suite.toml"


def test_the_table_is_that_of_two_evaluations(suite: Path) -> None:
    encoder = Counting()
    done = zs.evaluate_suite(suite, encoder)
    one, two = (
        zs.evaluate(suite.parent / name, suite.parent / "prototypes", Counting()) for name in ("first", "second")
    )
    assert [(row.name, row.n_correct, row.n_scored) for row in done.rows] == [
        ("the first", one.n_correct, 30), ("own/photos", two.n_correct, 12),
    ]  # fmt: skip
    assert done.rows[1].interval == wilson(two.n_correct, 12)
    assert [row.drop for row in done.rows] == [0.0, pytest.approx(one.n_correct / 30 - two.n_correct / 12)]
    assert done.macro_average == pytest.approx((one.n_correct / 30 + two.n_correct / 12) / 2)
    assert encoder.count == 42
    assert zs.evaluate_suite(suite, encoder) == done
    assert encoder.count == 42, "nothing is encoded again"
    pictures(suite.parent / "second", 3, first=200)
    assert zs.evaluate_suite(suite, encoder).rows[1].n_scored == 15
    assert encoder.count == 57, "only the data set that changed"


def test_indexes_by_name_and_lists_of_files(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zs.build_prototypes("@classes", CLASSES, Counting(), templates="raw", force=True)
    photos = "".join(f"{path}\n" for path in sorted((suite.parent / "second").rglob("*.png")))
    (suite.parent / "list").write_text(photos, encoding="utf-16")
    expected = zs.evaluate_suite(suite, Counting())
    suite.write_bytes(SUITE.replace('"prototypes"', '"@classes"').encode("utf-8-sig"))
    assert zs.evaluate_suite(suite, Counting()) == expected
    suite.write_text(SUITE.replace('"second"', '"@list"'))
    with pytest.raises(SourceError, match="has a label"):
        zs.evaluate_suite(suite, Counting())


def test_an_interrupted_suite_continues(suite: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        zs.evaluate_suite(suite, Counting(at_most=35))
    rest = Counting()
    done = zs.evaluate_suite(suite, rest)
    assert rest.count == 12
    assert done == zs.evaluate_suite(suite, Counting(), work=suite.parent / "elsewhere")


def test_galleries_and_other_prototypes(suite: Path) -> None:
    zs.build_gallery(suite.parent / "second", suite.parent / "gallery", Counting())
    zs.build_prototypes(suite.parent / "others", list(reversed(CLASSES)), Counting(), templates="standard")
    text = SUITE.replace('"second"', '"gallery"\nprototypes = "others"')
    suite.write_text(text)
    done = zs.evaluate_suite(suite, Counting())
    expected = zs.evaluate(suite.parent / "gallery", suite.parent / "others")
    assert (done.rows[1].n_correct, done.rows[1].n_scored) == (expected.n_correct, 12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[datasets]]", "[[sets]]", "has no ..datasets"),
        ('name = "own/photos"', "", "data set 2 of the suite .*: no name"),
        ('name = "own/photos"', 'name = "the first"', "'the first' twice"),
        ('source = "second"', 'source = "second"\ntemplates = "raw"', "'templates' is unknown"),
        ('source = "second"', "source = 2", "not all are strings"),
        ("prototypes =", "prototypes", "cannot be read"),
    ],
)
def test_suites_that_are_refused(suite: Path, old: str, new: str, message: str) -> None:
    suite.write_text(SUITE.replace(old, new))
    with pytest.raises(SourceError, match=message):
        zs.evaluate_suite(suite, Counting())


def test_all_labels_are_checked_before_anything_is_encoded(suite: Path) -> None:
    (suite.parent / "second" / "class 2").rename(suite.parent / "second" / "class 7")
    encoder = Counting()
    with pytest.raises(ClassMappingError, match="class 7"):
        zs.evaluate_suite(suite, encoder)
    assert encoder.count == 0


def test_on_the_command_line(tmp_path: Path, scene_folder: Path, run_cli: Run) -> None:
    names = "red circle,blue star"
    for name in names.split(","):
        (tmp_path / "scenes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "scenes" / name).symlink_to(scene_folder / name)
    made = run_cli("index", "prototypes", "p", "--classes", names, "--model", "demo", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "s.toml").write_text('[[datasets]]\nname = "scenes"\nsource = "scenes"\nprototypes = "p"\n')
    done = run_cli("evaluate", "--suite", "s.toml", "--device", "cpu", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"][0]["n_scored"] == 6
    assert report["macro_average"] == report["rows"][0]["prec@1"]
    shown = run_cli("evaluate", "--suite", "s.toml", "--device", "cpu", cwd=tmp_path)
    assert "macro average" in shown.stdout
    assert "the drop is against scenes" in shown.stdout
    for words in (("scenes", "--suite", "s.toml"), ("--suite", "s.toml", "--per-class"), ("scenes",), ()):
        assert run_cli("evaluate", *words, cwd=tmp_path).returncode == 2
