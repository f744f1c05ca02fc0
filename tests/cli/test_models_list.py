"""``models list`` and ``models show``: published figures are listed, sorted, marked, and empty where unknown."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.api import model_speed
from zsretrieve.cli.app import app
from zsretrieve.encoders.catalog import registry


def models(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def listed(*words: str) -> list[dict[str, Any]]:
    done = models("list", *words, "--format", "json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_by_default_the_models_to_choose_from_are_listed_by_their_cost() -> None:
    rows = listed()
    assert [row["name"] for row in rows] == [
        model.name for model in zs.published_models() if model.on_front or model.short_name
    ]
    assert {row["short_name"] for row in rows} == {"small", "medium", "best", None}
    everything = listed("/")
    assert [row["name"] for row in everything] == [model.name for model in zs.published_models()]
    default = next(row for row in rows if row["name"] == "ViT-B-32-256/datacomp_s34b_b86k")
    sources = {key: default.pop(key) for key in ("imagenet_prec@1_source", "cost_source", "license_source")}
    assert default == {
        "name": "ViT-B-32-256/datacomp_s34b_b86k",
        "arch": "ViT-B-32-256",
        "tag": "datacomp_s34b_b86k",
        "image_size": "256x256",
        "dim": 512,
        "front": default["front"],
        "imagenet_prec@1": 0.7281,
        "image_gflop": 11.5,
        "params_millions": 151.29,
        "short_name": "small",
        "disk_gb": 0.61,
        "license": "MIT",
        "multilingual": False,
    }
    assert all("https://" in source for source in sources.values())


@pytest.mark.parametrize(
    ("sort", "key", "sign"),
    [
        ("top1", "imagenet_prec@1", -1),
        ("gflop", "image_gflop", 1),
        ("params", "params_millions", 1),
        ("name", "name", 0),
    ],
)
def test_sorting(sort: str, key: str, sign: int) -> None:
    values = [row[key] for row in listed("/", "--sort", sort) if row[key] is not None]
    assert values == sorted(values, key=lambda value: sign * value if sign else value.lower())
    assert len(values) > 100


def test_the_front_is_marked_and_can_be_listed_alone() -> None:
    on_it = [row["name"] for row in listed() if row["front"]]
    assert on_it == [row["name"] for row in listed("--front")]
    assert 3 < len(on_it) < 40
    tenths = [round(row["imagenet_prec@1"], 3) for row in listed("--front")]
    assert tenths == sorted(set(tenths)), "no two equal ones in this table"
    table = models("list", "/").stdout
    rows = [line.split() for line in table.splitlines() if "/" in line]
    assert {row[1] for row in rows if row[0] == "*"} == set(on_it)
    assert table.rstrip().endswith("needs more GFLOP, is less accurate or is equal in both.")
    behind = models("list", "RN50/openai").stdout
    assert "RN50/openai" in behind
    assert "Pareto front" not in behind


def test_all_lists_the_registry_and_is_empty_where_nothing_is_known() -> None:
    rows = listed("--all")
    assert [row["name"] for row in rows] == [info.name for info in registry.known_models()]
    by_name = {row["name"]: row for row in rows}
    known, unknown = by_name["ViT-B-32/openai"], by_name["ViT-B-32/commonpool_s_s13m_b4k"]
    assert (known["imagenet_prec@1"], known["context_length"], known["activation"]) == (0.6332, 77, "quick_gelu")
    assert (unknown["imagenet_prec@1"], unknown["license"], unknown["dim"]) == (None, None, 512)
    assert known.keys() == unknown.keys()
    ranked = [row["imagenet_prec@1"] for row in listed("--all", "b-32", "--sort", "top1")]
    assert ranked[0] == 0.74, "ViT-B-32-SigLIP2-256"
    assert ranked[-1] is None
    table = models("list", "--all", "b-32").stdout
    assert "ViT-B-32/commonpool_s_s13m_b4k" in table
    assert "quick_gelu" in table


def test_csv_has_a_header_and_empty_cells() -> None:
    done = models("list", "--all", "commonpool_s", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows
    assert {row["image_gflop"] for row in rows} == {""}


def test_a_search_without_a_match_says_where_else_to_look() -> None:
    done = models("list", "commonpool_s")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no model matches 'commonpool_s'" in done.stderr
    assert "--all" in done.stderr
    assert "--all" not in models("list", "--all", "zzz").stderr


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_no_name_breaks_however_narrow_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsretrieve.cli.output._PIPE_WIDTH", width)
    done = models("list")
    lines = done.stdout.splitlines()
    notes = next(number for number, line in enumerate(lines) if line.startswith("* on the Pareto front"))
    assert max(len(line.rstrip()) for line in lines[:notes]) <= width  # a note is one line where no terminal is
    default = next(line.split() for line in lines if zs.DEFAULT_MODEL in line)
    assert default[:6] == [zs.DEFAULT_MODEL, "72.8", "11.5", "0.6", "small,", "default"]
    assert any("MIT" in line.split() for line in lines) == (width > 80)
    words = {word for line in models("list", "/").stdout.splitlines() for word in line.split()}
    assert {model.name for model in zs.published_models()} <= words
    whole = models("list", "--all").stdout
    assert {info.name for info in registry.known_models()} <= {
        word for line in whole.splitlines() for word in line.split()
    }


def test_show_prints_what_is_published_about_a_model() -> None:
    shown = models("show", "ViT-B-32/openai").stdout
    assert "63.32 %" in shown
    assert "MIT" in shown
    assert "openclip_results.csv" in shown
    facts = json.loads(models("show", "ViT-B-32,openai", "--format", "json").stdout)
    assert (facts["imagenet_prec@1"], facts["image_gflop"], facts["license"]) == (0.6332, 8.82, "MIT")
    assert "imagenet_prec@1" not in json.loads(models("show", "demo", "--format", "json").stdout)
    assert "None" not in models("show", "ViT-H-14-worldwide/metaclip2_worldwide").stdout


def test_an_unknown_order_is_wrong_usage() -> None:
    done = models("list", "--sort", "speed")
    assert done.exit_code == 2
    assert "top1" in done.output


def test_measured_models_are_recommended_from_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [("a/fast", 50.0, "fp32", 0.65), ("b/beaten", 20.0, "fp32", 0.6), ("c/good", 2.0, "fp32", 0.8)]
    monkeypatch.setattr(zs, "measure_models", lambda words, on_stage: model_speed.compared(rates))
    done = models("list", "--here")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        "fastest on the Pareto front: --model a/fast, a million images in 5.6 hours",
        "most accurate: --model c/good, a million images in 138.9 hours",
    ]
    starred = [line.split() for line in done.stdout.splitlines() if "fp32" in line]
    assert starred == [
        ["*", "a/fast", "50.0", "65.0", "fp32"],
        ["b/beaten", "20.0", "60.0", "fp32"],
        ["*", "c/good", "2.0", "80.0", "fp32"],
    ]


def test_a_front_needs_published_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = model_speed.compared([("demo", 50.0, "fp32", None)])
    monkeypatch.setattr(zs, "measure_models", lambda words, on_stage: measured)
    done = models("list", "--here")
    assert "Pareto" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("nothing is published about these")
