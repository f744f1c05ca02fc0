import json
from pathlib import Path

import open_clip
import pytest
import timm.data

from zsretrieve.demo import scenes
from zsretrieve.domain import prompts
from zsretrieve.domain.errors import ClassMappingError, PromptError
from zsretrieve.domain.labels import map_labels
from zsretrieve.domain.records import PromptSet
from zsretrieve.encoders.catalog.bundled_prompts import provide


def classes(spec: object) -> prompts.ClassList:
    return prompts.read_classes(spec, provide)  # type: ignore[arg-type]


def templates(spec: object) -> prompts.TemplateList:
    return prompts.read_templates(spec, provide)  # type: ignore[arg-type]


def expanded(class_spec: object, template_spec: object = "raw") -> PromptSet:
    return prompts.expand(classes(class_spec), templates(template_spec))


# How many templates data/prompts.md of CLIP's repository has for each data set.
TEMPLATES_OF_CLIP = {
    "birdsnap": 1, "caltech101": 34, "clevr-counts": 1, "country211": 5, "dtd": 8, "eurosat": 3, "fer2013": 6,
    "fgvc-aircraft": 2, "flowers102": 1, "food101": 1, "gtsrb": 3, "hateful-memes": 1, "kinetics700": 28, "mnist": 1,
    "oxford-pets": 1, "patch-camelyon": 1, "resisc45": 18, "sst2": 1, "stanford-cars": 8, "sun397": 2, "ucf101": 48,
}  # fmt: skip


def test_the_clip_authors_templates_of_other_data_sets() -> None:
    for name, count in TEMPLATES_OF_CLIP.items():
        assert len(set(templates(name).templates)) == count, name
    assert templates("oxford-pets").templates == ("a photo of a {}, a type of pet.",)
    assert templates("kinetics700").templates[:2] == ("a photo of {}.", "a photo of a person {}.")
    assert templates("resisc45").templates[-1] == "aerial view of the {}."
    assert templates("mnist").templates == ('a photo of the number: "{}".',)
    assert templates("standard-no-stop").templates == ("a photo of a {}",)


def test_bundled_sets() -> None:
    names = {s.name: s for s in prompts.bundled_sets()}
    own = {
        "cifar10",
        "imagenet1k",
        "imagenette",
        "openai7",
        "openai80",
        "raw",
        "scenes",
        "standard",
        "standard-no-stop",
    }
    assert set(names) == own | TEMPLATES_OF_CLIP.keys()
    assert all(s.source for s in names.values())
    assert (names["scenes"].has_classes, names["scenes"].has_templates) == (True, True)
    assert (names["raw"].has_classes, names["raw"].has_templates) == (False, True)
    assert templates("raw").templates == ("{}",)
    assert templates("standard").templates == ("a photo of a {}.",)
    assert templates("openai80").templates == tuple(t("{}") for t in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert templates("openai7").templates == tuple(t("{}") for t in open_clip.SIMPLE_IMAGENET_TEMPLATES)
    assert len(classes("cifar10").names) == len(classes("imagenette").names) == 10
    assert list(classes("scenes").names) == scenes.class_names()


def test_imagenet_names_and_synsets() -> None:
    found = classes("imagenet1k")
    assert list(found.names) == list(open_clip.IMAGENET_CLASSNAMES)
    assert list(found.keys) == list(timm.data.ImageNetInfo().label_names())
    assert found.default_templates == "openai80"
    made = prompts.expand(found, templates("openai80"))
    assert sum(len(group) for group in made.prompts) == 80_000
    assert made.prompts[0][0] == "a bad photo of a tench."
    assert prompts.duplicate_names(made) == ("missile", "sunglasses")
    assert set(classes("imagenette").keys) < set(found.keys)


def test_files_of_every_kind(tmp_path: Path) -> None:
    text = tmp_path / "names.txt"
    text.write_text("cat\ndog\n\n")
    assert classes(text).names == ("cat", "dog")
    assert classes(str(text)).names == ("cat", "dog")
    text.write_text("n02123045 tabby, tabby cat\nn02099601\tgolden retriever\n")
    assert classes(text).names == ("tabby, tabby cat", "golden retriever")
    assert classes(text).keys == ("n02123045", "n02099601")
    names = tmp_path / "names.json"
    names.write_text('["cat", "dog"]')
    assert classes(names).names == ("cat", "dog")
    own = tmp_path / "own.toml"
    own.write_text('names = ["cat"]\nkeys = ["n1"]\ntemplates = ["a {c} and a {}"]\ndefault_templates = "raw"\n')
    assert classes(own).keys == ("n1",)
    assert templates(own).templates == ("a {} and a {}",)
    assert expanded(own, own).prompts == (("a cat and a cat",),)
    lines = tmp_path / "templates.txt"
    lines.write_text("a photo of a {c}.\nart of the {}.\n")
    assert templates(lines).templates == ("a photo of a {}.", "art of the {}.")
    listed = tmp_path / "templates.json"
    listed.write_text('["{} here"]')
    assert templates(listed).templates == ("{} here",)


def test_prompts_class_by_class(tmp_path: Path) -> None:
    cupl = tmp_path / "cupl.json"
    cupl.write_text(json.dumps({"cat": ["a cat has {} whiskers", "cats purr"], "dog": ["dogs bark"]}))
    made = prompts.expand(classes(cupl), None)
    assert made.prompts == (("a cat has {} whiskers", "cats purr"), ("dogs bark",))
    with pytest.raises(PromptError, match="class by class"):
        prompts.expand(classes(cupl), templates("raw"))
    cupl.write_text('{"cat": []}')
    with pytest.raises(PromptError, match="no prompt"):
        classes(cupl)


def test_the_command_line_s_forms() -> None:
    assert classes("cat, dog ,a bird").names == ("cat", "dog", "a bird")
    assert classes("cat,").names == ("cat",)
    assert classes(["one", "two"]).names == ("one", "two")
    assert templates("a {} here").templates == ("a {} here",)
    assert templates("a {c} here").templates == ("a {} here",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("imagnet1k", "no class set or file"),
        ("cat,,dog", "class name 2 .* is empty"),
        ("openai80", "holds templates, not classes"),
        ([], "no class names"),
    ],
)
def test_bad_classes(spec: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        classes(spec)


def test_the_nearest_set_is_named() -> None:
    with pytest.raises(PromptError) as caught:
        classes("imagnet1k")
    assert "imagenet1k" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opnai80", "no template set or file"),
        (["a photo of a {}.", "a photo"], "template 2 .* no placeholder: 'a photo'"),
        ("a photo of {name}", "no placeholder"),
        ("imagenette", "holds no templates"),
        ([], "holds no templates"),
    ],
)
def test_bad_templates(spec: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        templates(spec)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", "names = [", "not valid TOML"),
        ("a.toml", "names = 3", "list of strings"),
        ("a.toml", 'names = ["a"]\nkeys = []', "1 names but 0 keys"),
        ("a.toml", 'names_from = "sklearn:iris"', "does not begin with open_clip: or timm:"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1]", "list of strings"),
        ("a.txt", "cat\n\ndog", "line 2 .* is empty"),
        ("a.txt", "", "no class names"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PromptError, match=message):
        classes(tmp_path / name)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="cannot be read"):
        classes(tmp_path / "binary.txt")


def test_digest_and_duplicates() -> None:
    one, other = expanded("cat,dog,cat"), expanded("cat,dog,cat", "standard")
    assert prompts.duplicate_names(one) == ("cat",)
    assert prompts.prompt_digest(one) == prompts.prompt_digest(expanded("cat,dog,cat"))
    assert prompts.prompt_digest(one) != prompts.prompt_digest(other)


def test_labels_map_by_name_synset_and_number() -> None:
    made = expanded("imagenette")
    labels = ["tench", "English_springer", "cassette  Player", "n03028079", "#9"]
    assert list(map_labels(labels, made).values()) == [0, 1, 2, 4, 9]
    assert map_labels(["a", "b"], expanded("b,a,b")) == {"a": 1, "b": 0}
    with pytest.raises(ClassMappingError, match=r"2 of 3 labels .*'dog', '#10'"):
        map_labels(["tench", "dog", "#10"], made)
    with pytest.raises(ClassMappingError, match="and 42 more"):
        map_labels([f"x{i}" for i in range(52)], made)


def test_labels_that_may_mean_two_classes_are_not_guessed() -> None:
    made = expanded("US,us,China")
    assert map_labels(["US", "us", "china"], made) == {"US": 0, "us": 1, "china": 2}
    with pytest.raises(ClassMappingError, match="'Us' could be any of 'US' and 'us'"):
        map_labels(["Us"], made)
    digits = expanded("1,2,3")
    assert map_labels(["1", "3"], digits) == {"1": 0, "3": 2}
    with pytest.raises(ClassMappingError, match="name of class 0 and the number of another"):
        map_labels(["#1"], digits)
    assert map_labels(["#1"], expanded("0,1,2")) == {"#1": 1}


def test_long_lists_are_no_paths() -> None:
    many = ",".join(f"class number {i}" for i in range(100))
    assert len(classes(many).names) == 100
    assert templates("a very long template " * 30 + "{}").templates
    with pytest.raises(PromptError, match="no class set or file"):
        classes("x" * 300)
    with pytest.raises(PromptError, match="no class set or file"):
        classes("x\0y")


def test_class_by_class_prompts_keep_classes_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "cupl.json"
    path.write_text('{"missile": ["one"], "dog": ["two"], "missile": ["three"]}')
    made = prompts.expand(classes(path), None)
    assert made.class_names == ("missile", "dog", "missile")
    assert made.prompts == (("one",), ("two",), ("three",))
    path.write_text("[" * 100_000)
    with pytest.raises(PromptError, match="not valid JSON"):
        classes(path)
