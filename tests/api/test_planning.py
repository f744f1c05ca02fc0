"""Plans from Python, and rates that are measured for them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from kits.vector_gallery import vector_gallery

import zsretrieve as zs
from zsretrieve.domain.vectors import unit_rows


def test_a_gallery_that_says_nothing_is_refused(tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((5, 24)))
    gallery = vector_gallery(tmp_path / "gallery", vectors)
    zs.remove(gallery, where="true")
    with pytest.raises(zs.UsageError, match="gallery' is empty"):
        zs.plan_index(gallery=gallery)
    assert zs.plan_index(1000, gallery=gallery).dim == 24
    prototypes = tmp_path / "prototypes"
    zs.build_prototypes(prototypes, ["a cat", "a dog"], "demo")
    for vectors_wanted in (None, 1000):
        with pytest.raises(zs.IndexFormatError, match="prototypes' is not a gallery"):
            zs.plan_index(vectors_wanted, gallery=prototypes)


def test_the_largest_plan_has_kinds_with_lists() -> None:
    found = zs.plan_index(10**13, 65536)
    assert [kind for kind in found.kinds if kind.kind.startswith("IVF8388608_HNSW32,") and kind.reaches]
    assert zs.plan_index(10**13, 65536, memory=10**9).kinds[0].machines > 10**6


def test_what_is_planned_may_come_from_a_gallery_or_a_model(tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((50, 24)))
    gallery = vector_gallery(tmp_path / "gallery", vectors)
    found = zs.plan_index(gallery=gallery)
    assert (found.vectors, found.dim) == (50, 24)
    found = zs.plan_index(10**7, gallery=gallery)
    assert (found.vectors, found.dim) == (10**7, 24)
    assert zs.plan_index(10**6, model="demo").dim == 128
    assert zs.plan_index(10**6, 512).recall == 0.95


def test_a_plan_has_one_number_of_dimensions(tmp_path: Path) -> None:
    gallery = vector_gallery(tmp_path / "gallery", unit_rows(np.random.default_rng(0).standard_normal((50, 24))))
    with pytest.raises(zs.UsageError, match="gallery' has vectors of 24 dimensions, and 512 are planned for"):
        zs.plan_index(1000, 512, gallery=gallery)
    with pytest.raises(zs.UsageError, match="the model 'demo' has vectors of 128 dimensions, and 24 are planned for"):
        zs.plan_index(gallery=gallery, model="demo")
    assert zs.plan_index(1000, 128, model="demo").dim == 128


@pytest.mark.parametrize(
    ("given", "missing"), [({"dim": 8}, "vectors"), ({"vectors": 8}, "dimensions"), ({"model": "demo"}, "vectors")]
)
def test_what_is_missing_is_named(given: dict[str, object], missing: str) -> None:
    with pytest.raises(zs.UsageError, match=f"the number of {missing} is missing"):
        zs.plan_index(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"vectors": 0},
        {"vectors": 10**13 + 1},
        {"dim": 0},
        {"dim": 65537},
        {"recall": 0},
        {"recall": 1.1},
        {"memory": 0},
    ],
)
def test_numbers_out_of_bounds_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(zs.ArgumentError):
        zs.plan_index(**{"vectors": 1000, "dim": 64, **given})  # type: ignore[arg-type]


def test_a_machine_is_measured(tmp_path: Path) -> None:
    stages: list[str] = []
    rates = zs.measure_rates(16, tmp_path, on_stage=lambda stage, done, total: stages.append(stage))
    assert list(tmp_path.iterdir()) == []
    assert len(set(stages)) > 5
    assert rates.source == "measured at 16 dimensions"
    figures = [rates.products, rates.walked, rates.compared, rates.read, rates.written]
    figures += [*rates.encoded.values(), *rates.scanned.values()]
    assert all(math.isfinite(figure) and figure > 0 for figure in figures)
    planned = zs.plan_index(10**6, 16, rates=rates)
    assert planned.rates == rates
    assert all(math.isfinite(kind.latency_ms) and math.isfinite(kind.build_hours) for kind in planned.kinds)
    assert any("PQ" in kind.kind for kind in planned.kinds)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(zs.SourceError, match="missing"):
        zs.measure_rates(16, tmp_path / "missing")


def test_a_model_is_measured() -> None:
    assert zs.encoding_rate("demo") > 0
