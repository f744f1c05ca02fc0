"""The classes that a gallery is scored on, where nobody names them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.prompting import item

import zsretrieve as zs
from zsretrieve.api.prompt_lab import lab_classes
from zsretrieve.domain import prompts
from zsretrieve.domain.errors import ClassMappingError, PromptError, SourceError, SpaceMismatchError, UsageError
from zsretrieve.store.indexes import Gallery


@pytest.fixture
def gallery(small_gallery: Path) -> Gallery:
    return zs.open_gallery(small_gallery, device="cpu")


def with_labels(gallery: Gallery, *labels: str) -> Gallery:
    return replace(gallery, items=tuple(item(number, label) for number, label in enumerate(labels)))


def test_labels_are_names(gallery: Gallery) -> None:
    found = lab_classes(with_labels(gallery, "golden_retriever", "7", "a  b", "golden_retriever", "a_b"))
    assert found.names == ("7", "a b", "golden retriever")
    assert found.source == "labels of the gallery"


def test_synset_ids_are_those_of_imagenet(gallery: Gallery) -> None:
    found = lab_classes(with_labels(gallery, "n01440764", "n02102040"))
    assert (len(found.names), found.names[0], found.source) == (1000, "tench", "imagenet1k")


@pytest.mark.parametrize("label", ["n99999999", "#65", "_"])
def test_labels_that_are_not_names(gallery: Gallery, label: str) -> None:
    with pytest.raises(ClassMappingError, match=f"'{label}' is not a name"):
        lab_classes(with_labels(gallery, "cat", label))


def test_classes_given_go_before_labels(gallery: Gallery) -> None:
    assert lab_classes(gallery, "cat,dog").names == ("cat", "dog")
    index = zs.make_prototypes(["one", "two"], HashingEncoder(), device="cpu").prototypes
    assert lab_classes(gallery, index).names == ("one", "two")
    with pytest.raises(SourceError, match="has a label"):
        lab_classes(replace(gallery, items=(replace(gallery.items[0], label=None),)))


def test_prompts_of_the_classes_are_compared_too(gallery: Gallery, tmp_path: Path) -> None:
    names = sorted({str(item.label) for item in gallery.items})
    (tmp_path / "own.json").write_text(json.dumps({name: [f"{name}!", f"see the {name}"] for name in names}))
    encoder = HashingEncoder()
    found = zs.compare_templates(gallery, ["raw", "a {}"], encoder, classes=tmp_path / "own.json")
    assert [row.name for row in found.sets] == ["class by class", "raw", "a {}"]
    assert [row.n_templates for row in found.sets] == [0, 1, 1]
    index = zs.make_prototypes(tmp_path / "own.json", encoder, device="cpu").prototypes
    assert found.sets[0].score.n_correct == zs.evaluate(gallery, index).n_correct
    ranked = zs.rank_templates(gallery, "scenes", encoder, classes=tmp_path / "own.json")
    assert len(ranked.templates) == 7


def test_python_refuses_what_the_command_line_refuses(gallery: Gallery) -> None:
    encoder = HashingEncoder()
    with pytest.raises(PromptError, match="no template set to compare"):
        zs.compare_templates(gallery, [], encoder)
    with pytest.raises(UsageError, match="most must be a whole number from 1"):
        zs.select_templates(gallery, "raw", encoder, most=0)
    with pytest.raises(SpaceMismatchError):
        zs.compare_templates(gallery, ["raw"], HashingEncoder(seed=2))
    index = zs.make_prototypes("scenes", HashingEncoder(seed=2), device="cpu").prototypes
    with pytest.raises(SpaceMismatchError):
        zs.similar_classes(index, gallery=gallery)
    with pytest.raises(UsageError, match="has its own model"):
        zs.similar_classes(index, encoder)
    with pytest.raises(UsageError, match="`where` works only on a gallery"):
        zs.similar_classes(index, where="id = 1")


@pytest.mark.parametrize("suffix", [".txt", ".json", ".toml"])
def test_templates_that_are_written_are_read_back(tmp_path: Path, suffix: str) -> None:
    templates = ["a {}.", "\"{}\" \\ 'x'", "ein {} für 猫"]
    if suffix != ".txt":
        templates.append(" {} \n two")
    text = prompts.template_text(templates, 'of "me"', suffix)
    (tmp_path / f"t{suffix}").write_text(text, encoding="utf-8")
    assert list(prompts.read_templates(tmp_path / f"t{suffix}", lambda name: []).templates) == templates
    if suffix == ".toml":
        assert tomllib.loads(text)["source"] == 'of "me"'


def test_a_template_that_fits_into_no_line_is_refused() -> None:
    for template in ("a {} ", "a\n{}", "{}\x85x"):
        with pytest.raises(PromptError, match="begins or ends with a space or has several lines"):
            prompts.template_text([template], "", ".txt")


def test_a_prompt_that_is_cut_is_reported(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    zs.compare_templates(gallery, ["{} " + "x " * 70], HashingEncoder())
    assert "120 prompts are longer than the model's 64 tokens and cut" in caplog.text
