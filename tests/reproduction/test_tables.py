from pathlib import Path

import pytest

import zsretrieve as zs
from zsretrieve.domain.errors import ModelNameError, PromptError
from zsretrieve.encoders.baseline import is_supervised
from zsretrieve.encoders.catalog.registry import check_tag
from zsretrieve.reproduction.tables import SUPERVISED, bundled_tables, read_table

# Model, CLIP paper, SigLIP paper, and the tutorial's with 80 templates, the standard one and none.
TABLE = """
CLIP RN50           59.6  -    59.8 57.9 55.3
CLIP ViT-B/32       63.2  -    63.3 61.9 59.0
CLIP ViT-B/16       68.6  68.3 68.3 66.6 64.1
CLIP ViT-L/14       75.3  75.5 75.5 72.9 71.6
CLIP ViT-L/14-336   76.2  76.6 76.5 74.3 73.0
SigLIP B/16-224     -     76.3 76.1 75.7 74.8
SigLIP B/16-256     -     76.6 76.5 76.3 75.2
SigLIP L/16-256     -     80.6 80.5 79.7 78.9
"""
FORM = """
classes = "cifar10"
templates = ["raw"]
[sources]
paper = "a paper"
[[models]]
name = "demo"
paper = { raw = 50.5 }
"""


def test_the_table_is_the_published_one() -> None:
    table = read_table("imagenet1k")
    figures = {(m.title, f.source, f.templates): f.percent for m in table.models for f in m.figures}
    expected = {("ResNet-50, supervised", "torchvision", SUPERVISED): 76.13}
    columns = [
        ("clip", "openai80"), ("siglip", "openai80"), ("tutorial", "openai80"), ("tutorial", "standard"),
        ("tutorial", "raw"),
    ]  # fmt: skip
    for line in TABLE.strip().splitlines():
        title, numbers = line[:20].strip(), line[20:].split()
        for (source, templates), number in zip(columns, numbers, strict=True):
            if number != "-":
                expected[title, source, templates] = float(number)
    assert figures == expected
    assert table.tolerance == 0.3
    for model in table.models[:-1]:
        assert model.figures[0].source == "tutorial"  # to which differences are told


def test_cifar_is_compared_by_the_templates_its_figures_are_of() -> None:
    table = read_table("cifar10")
    assert [(f.source, f.templates, f.percent) for f in table.models[0].figures] == [
        ("openclip", "cifar10", 89.83), ("clip", "cifar10", 91.3),
    ]  # fmt: skip
    templates = zs.read_prompts("cifar10", "cifar10").templates
    # Nine with "a", and the same nine with "the".
    assert len(set(templates)) == 18
    assert [
        one.replace(" a {}", " the {}").replace(" a small", " the small").replace(" a big", " the big")
        for one in templates[:9]
    ] == list(templates[9:])


@pytest.mark.parametrize("name", bundled_tables())
def test_bundled_tables_name_what_is_there(name: str) -> None:
    table = read_table(name)
    assert {table.images} <= {50000, 3925, 10000}
    for templates in table.templates:
        assert len(zs.read_prompts(table.classes, templates).class_names) in (10, 1000)
    for model in table.models:
        assert model.figures
        assert model.cost is not None
        if not is_supervised(model.name):
            arch, _, tag = model.name.partition("/")
            check_tag(arch, tag, model.name)
    assert all(table.sources.values())


def test_some_of_its_models_and_others() -> None:
    assert [m.title for m in zs.published_table("cifar10").models] == ["CLIP ViT-B/32", "CLIP ViT-B/16"]
    some = zs.published_table(models=["SigLIP B/16-224", "RN50/openai", "RN50/openai"], extra=["demo", "demo"])
    assert [m.name for m in some.models] == ["ViT-B-16-SigLIP/webli", "RN50/openai", "demo"]
    assert some.models[-1].figures == ()
    assert not any(is_supervised(m.name) for m in zs.published_table(baseline=False).models)
    assert [m.name for m in zs.published_table(models=["none"], extra=["demo"]).models] == ["demo"]
    # Both names of one model are that model, and what is left out is left out whoever names it.
    assert len(zs.published_table(models=["RN50/openai", "CLIP RN50"]).models) == 1
    with pytest.raises(ModelNameError, match="no model is left"):
        zs.published_table(models=["torchvision:resnet50"], baseline=False)
    with pytest.raises(ModelNameError, match="has no model 'RN51'"):
        zs.published_table(models=["RN51"])
    with pytest.raises(ModelNameError, match="no model is left"):
        zs.published_table(models=["none"])
    with pytest.raises(ModelNameError, match="is not a model's folder"):
        zs.published_table(extra=["local-dir:nowhere"])
    with pytest.raises(ModelNameError, match="no supervised baseline 'torchvision:vgg'"):
        zs.published_table(extra=["torchvision:vgg"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('classes = "cifar10"', "", "'classes' is missing"),
        ("raw = 50.5", "raw = 150", "paper of demo: raw = 150"),
        ("raw = 50.5", "raw = nan", "paper of demo: raw = nan"),
        ("raw = 50.5", "raw = true", "paper of demo: raw = True"),
        ("raw = 50.5", "standard = 50", "paper of demo: 'standard' is not one of its templates"),
        ('templates = ["raw"]', 'templates = "raw"', "'templates' must be a list of strings"),
        ("[sources]", "tolerance = nan\n[sources]", "tolerance = nan"),
        ("[sources]", "tolerance = -1\n[sources]", "tolerance = -1"),
        ("[sources]", "images = 0\n[sources]", "images = 0 is not a positive integer"),
        ("[sources]", 'images = "30"\n[sources]', "images = 30 is not a positive integer"),
        ("[sources]", '[sources]\ntitle = "a source"', "a source cannot be called 'title'"),
        (
            "paper = {",
            'cost = { dim = "a", mparams = 1, image_gflops = 1 }\npaper = {',
            "cost of demo: dim = a",
        ),
        ("paper = {", "papers = {", "'papers' of demo is not one of its sources"),
        ('templates = ["raw"]', "templates = []", "no models or no templates"),
        ("[[models]]", '[[models]]\nname = "demo"\n[[models]]', "it has a model twice"),
        ("[sources]", "[sources", "is not valid"),
        ("paper = {", "cost = { width = 3 }\npaper = {", "unexpected keyword argument 'width'"),
    ],
)
def test_a_table_of_ones_own_that_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "table.toml"
    file.write_text(FORM)
    assert read_table(file).models[0].figures[0].percent == 50.5
    file.write_text(FORM.replace(old, new))
    with pytest.raises(PromptError, match="table") as error:
        read_table(file)
    assert message in error.value.message
    assert error.value.hint


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no published table 'mnist'") as error:
        read_table("mnist")
    assert error.value.hint == "Use cifar10, imagenet1k, imagenette."
    with pytest.raises(PromptError, match="cannot be read"):
        read_table(tmp_path / "none.toml")
