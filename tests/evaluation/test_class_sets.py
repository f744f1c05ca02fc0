"""Which groups of images added classes draw, against a count by hand and scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.output_page import check
from scipy.stats import chi2_contingency
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import ClassMappingError, FilterError
from zsretrieve.metrics import wilson

NAMES = ["red star", "blue circle", "green heart"]


@pytest.fixture
def indexes(tmp_path: Path) -> tuple[Path, Path]:
    for name, classes in (("before", NAMES), ("after", [*NAMES, "black bolt", "pink cross"])):
        zs.build_prototypes(tmp_path / name, classes, HashingEncoder(), templates="raw")
    return tmp_path / "before", tmp_path / "after"


def test_groups_are_counted_as_by_hand(indexes: tuple[Path, Path], small_gallery: Path) -> None:
    where = "label like '%star' or label like '%circle'"
    found = zs.compare_class_sets(*indexes, small_gallery, "label", where=where)
    gallery, after = zs.open_gallery(small_gallery), zs.open_prototypes(indexes[1])
    best = (gallery.vectors @ after.vectors.T).argmax(axis=1)
    drawn: dict[str, list[int]] = {}
    for item, row in zip(gallery.items, best, strict=True):
        if item.label is not None and item.label.endswith(("star", "circle")):
            drawn.setdefault(item.label, []).append(int(row))
    assert (found.added, found.left_out, found.n) == (("black bolt", "pink cross"), (), sum(map(len, drawn.values())))
    assert {one.group for one in found.groups} == set(drawn)
    for one in found.groups:
        rows = drawn[str(one.group)]
        assert (one.n, one.n_drawn) == (len(rows), sum(row > 2 for row in rows))
        assert one.drawn_by == {n: c for n, k in (("black bolt", 3), ("pink cross", 4)) if (c := rows.count(k))}
        assert one.interval == wilson(one.n_drawn, one.n)
    shares = [one.n_drawn / one.n for one in found.groups]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(one.n_drawn for one in found.groups) < found.n
    table = np.array([[one.n_drawn, one.n - one.n_drawn] for one in found.groups])
    assert found.p_value == pytest.approx(chi2_contingency(table, correction=False).pvalue)


def test_what_cannot_be_compared(indexes: tuple[Path, Path], small_gallery: Path) -> None:
    before, after = indexes
    with pytest.raises(ClassMappingError, match="no class that the first lacks"):
        zs.compare_class_sets(after, before, small_gallery, "label")
    with pytest.raises(FilterError, match="there is no column 'race'"):
        zs.compare_class_sets(before, after, small_gallery, "race")
    one = zs.compare_class_sets(before, after, small_gallery, "label", where="label = 'red star'")
    assert one.p_value is None


def test_on_the_command_line(indexes: tuple[Path, Path], small_gallery: Path) -> None:
    words = ["compare", *map(str, indexes), "--on", str(small_gallery), "--group", "folder"]
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code == 0, done.output
    check(json.loads(done.stdout), "compare --group")
    assert "classes that only B has: black bolt, pink cross" in " ".join(CliRunner().invoke(app, words).stdout.split())
    assert CliRunner().invoke(app, [*words[:3], "--group", "label"]).exit_code != 0
    assert CliRunner().invoke(app, [*words, "--flipped", "x.csv"]).exit_code != 0
