"""``zsretrieve search`` with what refines it, and saved searches: as Python, and for people. No model is loaded."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import UsageError
from zsretrieve.encoders import loading


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refined")
    zs.build_gallery(pictures(folder / "photos", 12), folder / "gallery", HashingEncoder())
    zs.build_prototypes(folder / "classes", "star,heart", HashingEncoder())
    return folder


@pytest.fixture(autouse=True)
def world(folder: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_encoder", lambda *_: hashing_encoder)
    monkeypatch.chdir(folder)


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def rows(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("search", "gallery", *words, "--format", "json").stdout)
    return found


@pytest.mark.parametrize(
    ("words", "query", "wanted"),
    [
        ("red --minus blue --minus id:4 -k 20", "red", zs.Wanted(k=20, minus=("blue", "id:4"))),
        ("red --more 3 --more 5 --less 7 -k 20", "red", zs.Wanted(k=20, more=(3, 5), less=(7,))),
        ("--more 3", None, zs.Wanted(more=(3,))),
        ("--minus red", None, zs.Wanted(minus=("red",))),
        ("--order date", None, zs.Wanted(order="date")),
        ("red --order date --min-score 0 -k 20", "red", zs.Wanted(order="date", min_score=0.0, k=20)),
        ("id:3 + red --offset 4 -k 3", "id:3 + red", zs.Wanted(offset=4, k=3)),
        ("id:3 --literal", "id:3", zs.Wanted(literal=True)),
        ("red --dedup --near 0.5 --no-exif", "red", zs.Wanted(dedup=True, near=0.5, exif=False)),
    ],
)  # fmt: skip
def test_the_ranking_is_that_of_python(words: str, query: str | None, wanted: zs.Wanted) -> None:
    found = rows(*words.split())
    hits = zs.search("gallery", query, None, wanted)
    assert found
    assert [{key: row[key] for key in row if key != "query"} for row in found] == [hit.to_dict() for hit in hits]
    assert {row["query"] for row in found} == {
        query or ("like id:3" if wanted.more else "- 0.5:red" if wanted.minus else "all images")
    }


def test_reasons_are_columns_and_lists() -> None:
    done = run("search", "gallery", "red", "--minus", "star", "-k", "2", "--explain", "-p", "classes")
    assert [word in done.stdout for word in ("+1 red", "-0.5 star", "nearest classes", "heart")] == [True] * 4
    assert "the last 3 rows are below the cut" in done.stdout
    for row in rows("red", "-k", "2", "--explain", "-p", "classes"):
        assert [term["label"] for term in row["terms"]] == ["red"]
        assert {one["class_name"] for one in row["classes"]} == {"star", "heart"}
    assert "terms" in rows("red", "--explain")[0]
    assert "classes" not in rows("red", "--explain")[0]
    assert (
        "explanations do not fit into CSV"
        in run("search", "gallery", "red", "--explain", "--format", "csv", code=2).stderr
    )
    plain = run("search", "gallery", "red", "-k", "1", "--format", "csv").stdout
    assert next(csv.reader(io.StringIO(plain))) == ["query", "rank", "id", "path", "score", "missing", "box"]


def test_a_line_says_that_nothing_matches() -> None:
    says = {text: zs.search("gallery", text).matching for text in ("red", "a trombone", "zebra", "the mayor", "qqq")}
    lone = next(text for text, matching in says.items() if matching is not None and matching.nothing)
    line = "nothing in this gallery seems to match: the best score, "
    assert line in run("search", "gallery", lone).stdout
    for form in (("--format", "json"), ("--paths",)):
        done = run("search", "gallery", lone, *form)
        assert line in done.stderr
        assert line not in done.stdout
        assert done.stdout.count("png") == 10
    assert line not in run("search", "gallery", "id:3").output
    assert "no hits\n" in run("search", "gallery", lone, "--min-score", "1").stdout
    assert "--offset 99 is past the end (12)" in run("search", "gallery", lone, "--offset", "99").stdout


def test_a_search_is_saved_run_again_listed_and_forgotten() -> None:
    first = run(
        "search", "gallery", "red", "star", "--minus", "blue", "-k", "3", "--offset", "1", "--save", "my search"
    )
    assert "saved: zsretrieve search gallery --saved 'my search'" in first.stderr
    again = rows("--saved", "my search")
    assert again == rows("red", "star", "--minus", "blue", "-k", "3")
    more = rows("--saved", "my search", "-k", "5", "--offset", "2")
    assert [row["id"] for row in more][:1] == [row["id"] for row in again][2:]
    assert "minus: ['blue']" in run("index", "searches", "gallery").stdout
    run("search", "gallery", "--more", "3", "--save", "alike")
    listed = json.loads(run("index", "searches", "gallery", "--format", "json").stdout)
    assert [(one["name"], one["query"], one["wanted"]) for one in listed] == [
        ("alike", "", {"more": [3]}), ("my search", "red star", {"k": 3, "minus": ["blue"]})
    ]  # fmt: skip
    left = run("index", "searches", "gallery", "--delete", "my search", "--delete", "alike")
    assert left.stderr == "deleted 'my search'\ndeleted 'alike'\n"
    assert "no saved search; save one" in run("index", "searches", "gallery").stderr
    refused = CliRunner().invoke(app, ["search", "gallery", "--saved", "my search"])
    assert "no saved search 'my search'" in getattr(refused.exception, "message", "")
    assert not isinstance(refused.exception, UsageError), "it is not there, as an ID may not be: exit code 1"
    for words, message in (
        (("red", "--saved", "a"), "it has its own query"),
        (("--saved", "a", "--save", "b"), "it has its own query"),
        (("-q", "a", "-q", "b", "--save", "b"), "only one query"),
        ((), "there is none"),
    ):
        assert message in run("search", "gallery", *words, code=2).stderr


@pytest.mark.parametrize("option", ["--minus", "-q", "--where", "--save", "-p"])
@pytest.mark.parametrize("following", ["-k", "--explain", "--no-exif", "-k=1"])
def test_an_option_is_not_the_value_of_the_one_before_it(option: str, following: str) -> None:
    done = run("search", "gallery", "red", option, following, "1", code=2)
    assert f"error: invalid value for {option}: it needs a value" in done.stderr


def test_the_heading_shows_what_refines_the_search() -> None:
    for words, heading in (
        (("a", "star", "--minus", "red"), "a star - 0.5:red"),
        (("a", "star", "--more", "3", "--less", "5"), "a star like id:3 and unlike id:5"),
        (("--more", "3", "--minus", "red"), "- 0.5:red like id:3"),
        (("--more", "3"), "like id:3"),
    ):
        assert run("search", "gallery", *words).stdout.splitlines()[0] == heading


def test_a_score_that_none_can_have_is_refused() -> None:
    refused = CliRunner().invoke(app, ["search", "gallery", "red", "--min-score", "2"])
    assert "scores are from -1 to 1" in getattr(refused.exception, "message", "")


def test_a_value_may_look_like_an_option_or_a_number() -> None:
    assert {row["query"] for row in rows("--minus=-k")} == {"- 0.5:-k"}
    assert len(rows("red", "--min-score", "-1", "-k", "3")) == 3
