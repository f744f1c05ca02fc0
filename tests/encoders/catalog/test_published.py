"""The table of published figures: whole, with sources, and in agreement with open_clip's own registry."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import zsretrieve
from zsretrieve.encoders.catalog import published, registry
from zsretrieve.encoders.catalog.model_name import DEFAULT_MODEL
from zsretrieve.encoders.catalog.published import (
    PublishedModel,
    ordered,
    published_model,
    published_models,
    read_sources,
)

ROOT = Path(__file__).parents[3]


def rows() -> list[dict[str, str]]:
    with open(published._FIGURES, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_every_model_is_one_that_open_clip_has_with_its_image_size_and_dim() -> None:
    known = {info.name: info for info in registry.known_models()}
    for model in published_models():
        assert (known[model.name].image_size, known[model.name].dim) == (model.image_size, model.dim), model.name
        assert (known[model.name].arch, known[model.name].tag) == (model.arch, model.tag)
    assert len({model.name for model in published_models()}) == len(rows()) > 100


def test_every_figure_has_a_source_and_every_source_a_figure() -> None:
    used = set()
    for row in rows():
        assert bool(row["params"]) == bool(row["gflop"]) == bool(row["cost"]), row["name"]
        assert bool(row["top1"]) == bool(row["from"]), row["name"]
        used |= {row["cost"], row["from"]} - {""}
    assert used == {source.key for source in read_sources()}
    for source in read_sources():
        assert source.title
        assert source.url.startswith("https://") or source.key == "counted"
    for model in published_models():
        assert (model.license is None) == (model.license_source is None), model.name
        assert str(model.license_source).startswith("https://") or model.license is None


def test_figures_are_of_the_right_magnitude_and_the_same_for_all_tags_of_an_architecture() -> None:
    costs: dict[str, tuple[object, ...]] = {}
    for model in published_models():
        assert model.prec1 is None or 0.5 < model.prec1 < 0.9, model.name
        assert model.params is not None, model.name
        assert 50 < model.params < 6000, model.name
        assert model.gflop is not None, model.name
        assert 2 < model.gflop < 5000, model.name
        cost = (model.params, model.gflop, model.cost_source, model.image_size, model.dim)
        assert costs.setdefault(model.arch, cost) == cost


def test_most_is_known_of_the_models_people_use() -> None:
    for name in (
        DEFAULT_MODEL, "RN50x64/openai", "ViT-L-14-336/openai", "ViT-bigG-14/laion2b_s39b_b160k", "ViT-H-14-378/dfn5b",
        "ViT-L-14/datacomp_xl_s13b_b90k", "ViT-H-14/metaclip_fullcc", "ViT-SO400M-14-SigLIP-384/webli",
        "ViT-gopt-16-SigLIP2-384/webli", "EVA02-E-14/laion2b_s4b_b115k", "MobileCLIP-S2/datacompdr",
        "MobileCLIP2-S0/dfndr2b", "PE-Core-bigG-14-448/meta", "convnext_base_w/laion2b_s13b_b82k",
        "coca_ViT-L-14/laion2b_s13b_b90k", "ViTamin-L/datacomp1b", "ViT-H-14-CLIPA/datacomp1b",
    ):  # fmt: skip
        model = published_model(*name.split("/"))
        assert model is not None, name
        assert None not in (model.prec1, model.license), name
    b32 = published_model("ViT-B-32", "openai")
    assert b32 is not None
    assert (b32.prec1, b32.params, b32.gflop, b32.license, b32.multilingual) == (0.6332, 151.28, 8.82, "MIT", False)
    assert published_model("ViT-B-32-quickgelu", "openai") is b32, "the same weights"
    assert published_model("ViT-B-32", "commonpool_s_s13m_b4k") is None


def test_the_front_compares_what_is_published_by_tenths_of_a_point() -> None:
    on_it = {model.name for model in published_models() if model.on_front}
    for model in published_models():
        beaten = [
            other.name
            for other in published_models()
            if (other.gflop or 0) <= (model.gflop or 0)
            and f"{other.prec1 or 0:.3f}" >= f"{model.prec1 or 0:.3f}"
            and (other.gflop, f"{other.prec1 or 0:.3f}") != (model.gflop, f"{model.prec1 or 0:.3f}")
        ]
        assert (model.name in on_it) == (not beaten), (model.name, beaten)
    assert "ViT-H-14/dfn5b" not in on_it, "83.44 is no more than the 83.4 of a cheaper one"


def test_facts_name_units_and_sources() -> None:
    unknown = PublishedModel("a/b", "a", "b", (224, 224), 8).facts()
    assert [key for key, value in unknown.items() if value is not None] == ["front", "multilingual"]
    best = max(published_models(), key=lambda model: model.prec1 or 0)
    facts = best.facts()
    assert facts["front"] is True
    assert facts["imagenet_prec@1"] == best.prec1
    assert "https://" in str(facts["imagenet_prec@1_source"])
    assert json.loads(json.dumps(facts)) == facts


MODELS = st.lists(
    st.builds(
        PublishedModel,
        name=st.text("aB/", min_size=1, max_size=3),
        arch=st.just("a"),
        tag=st.just("b"),
        image_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        dim=st.integers(1, 9),
        params=st.none() | st.integers(0, 3).map(float),
        gflop=st.none() | st.integers(0, 3).map(float),
        prec1=st.none() | st.integers(0, 3).map(float),
    ),
    max_size=8,
)


@given(MODELS)
def test_orders(models: list[PublishedModel]) -> None:
    for by, name, sign in (("top1", "prec1", -1), ("gflop", "gflop", 1), ("params", "params", 1)):
        made = ordered(models, by)
        figures = [getattr(model, name) for model in made]
        known = [figure for figure in figures if figure is not None]
        assert figures[len(known) :] == [None] * (len(figures) - len(known)), "what is unknown comes last"
        assert known == sorted(known, key=lambda figure: sign * figure)
        for figure in set(figures):
            same = [id(model) for model in made if getattr(model, name) == figure]
            assert same == [id(model) for model in models if getattr(model, name) == figure], "equal ones stay in order"
    sizes = [model.image_size[0] * model.image_size[1] for model in ordered(models, "size")]
    assert sizes == sorted(sizes)
    names = [model.name.lower() for model in ordered(models, "name")]
    assert names == sorted(names)


def test_models_are_found_from_python() -> None:
    found = zsretrieve.published_models("siglip2 b-16", by="top1")
    assert found[0].name == "ViT-B-16-SigLIP2-512/webli"
    assert all("SigLIP2" in model.name and "B-16" in model.name for model in found)
    everything = zsretrieve.published_models()
    assert [model.gflop for model in everything] == sorted(model.gflop or 0 for model in published_models())


def test_costs_are_those_of_the_architectures() -> None:
    """Those counted by the script and those of open_clip's own profile, to the last digit."""
    archs = ("MobileCLIP2-S0", "PE-Core-T-16-384", "ViT-B-16-SigLIP2", "ViT-B-32", "RN50", "convnext_base")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "count_gflop", *archs], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    counted = {arch: (cost["params"], cost["gflop"]) for arch, cost in json.loads(done.stdout).items()}
    costs = {model.arch: (model.params, model.gflop) for model in published_models()}
    assert counted == {arch: costs[arch] for arch in archs}
    assert len({model.cost_source for model in published_models() if model.arch in archs}) == 2
