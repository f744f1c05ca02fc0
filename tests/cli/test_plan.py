"""``zsretrieve index plan``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from kits.output_page import check
from kits.vector_gallery import vector_gallery
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.rates import USUAL
from zsretrieve.domain.vectors import unit_rows

HUGE = ("--vectors", "5e9", "--dim", "768", "--recall", "0.95", "--memory", "256GB")


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["index", "plan", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_example_of_the_help() -> None:
    shown = run(*HUGE)
    assert "Not on one machine: 256 GB are 51.2 bytes for each of 5,000,000,000 vectors of 768 dimensions" in shown
    assert "PQ192x4fsr" in shown
    assert "give --rate" in shown


@pytest.mark.parametrize(
    "words", [(*HUGE, "--rate", "50"), ("--vectors", "1e9", "--dim", "1024", "--recall", "1", "--rate", "50")]
)
def test_no_row_is_wider_than_a_terminal(words: tuple[str, ...]) -> None:
    rows = [line for line in run(*words).splitlines() if re.search(r"^ *(kind|each|IVF|RR|SQ|Flat|\u2500)", line)]
    assert len(rows) > 10
    assert max(map(len, rows)) <= 110


def test_json() -> None:
    content = json.loads(run(*HUGE, "--rate", "100", "--format", "json"))
    check(content, "index plan")
    assert (content["vectors"], content["dim"], content["memory"]) == (5 * 10**9, 768, 256 * 10**9)
    assert content["kinds"][0]["encode_hours"] > 1000


def test_what_does_not_find_enough_says_what_it_finds() -> None:
    shown = run("--vectors", "1M", "--dim", "512", "--recall", "1", "--rate", "100")
    assert "reaches" in shown
    assert "2.78 h" in shown
    assert "give --rate" not in shown
    assert "Take Flat: one machine holds 1,000,000 vectors" in shown


def test_a_gallery_that_is_there(tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((50, 24)))
    out = vector_gallery(tmp_path / "gallery", vectors)
    assert "50 vectors of 24 dimensions" in run("--gallery", str(out))
    assert "200,000 vectors of 24 dimensions" in run("--gallery", str(out), "--vectors", "200k")


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def measured(dim: int, folder: str = ".", *, on_stage: object = None) -> zs.Rates:
        asked.append(dim)
        return USUAL

    def rate(model: str, *, on_stage: object = None) -> float:
        asked.append(model)
        return 1000.0

    monkeypatch.setattr(zs, "measure_rates", measured)
    monkeypatch.setattr(zs, "encoding_rate", rate)
    assert "33 min" in run("--vectors", "1M", "--model", "demo", "--measure", "--rate", "500")
    assert asked == [128]
    assert "17 min" in run("--vectors", "1M", "--model", "demo", "--measure")
    assert asked == [128, 128, "demo"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the number of vectors is missing"),
        (("--vectors", "1M"), "the number of dimensions is missing"),
        (("--vectors", "lots", "--dim", "8"), "--vectors cannot be 'lots'"),
        (("--vectors", "1M", "--dim", "8", "--memory", "8"), "no kind that finds 0.95 holds even one vector"),
        (("--vectors", "1M", "--dim", "8", "--memory", "much"), "'much' is not an amount of memory"),
        (("--vectors", "1M", "--dim", "8", "--recall", "2"), "recall"),
        (("--vectors", "1e14", "--dim", "8"), "vectors must be a whole number from 1 to 10,000,000,000,000"),
    ],
)
def test_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["index", "plan", *words])
    assert done.exit_code != 0
    assert isinstance(done.exception, zs.UsageError)
    assert message in done.exception.message


def test_a_rate_that_is_none_names_the_option() -> None:
    done = CliRunner().invoke(app, ["index", "plan", "--vectors", "1M", "--dim", "8", "--rate", "0"])
    assert done.exit_code == 2
    assert "--rate: 0 is less than 0.001" in " ".join(done.output.split())
