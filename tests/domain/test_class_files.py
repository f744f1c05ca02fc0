"""Files of classes and templates as people have them: each is read for what it means, or refused with what it holds."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zsretrieve as zs
from zsretrieve.domain import prompts
from zsretrieve.domain.errors import PromptError, SourceError
from zsretrieve.domain.text_files import value_of
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.images.sources import read_ground_truth

TWO = ("red star", "blue circle")
KEYS = ("n01440764", "n02102040")


def classes(path: Path) -> prompts.ClassList:
    return prompts.read_classes(path, lambda name: [])


def templates(path: Path) -> tuple[str, ...]:
    return prompts.read_templates(path, lambda name: []).templates


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one-line.txt", "red star,blue circle\n"),
        ("one-line-quoted.txt", '"red star", "blue circle"'),
        ("one-line.csv", "red star,blue circle\r\n"),
        ("header.csv", "id,name\n0,red star\n1,blue circle\n"),
        ("header-in-text.txt", "id,name\n0,red star\n1,blue circle\n"),
        ("other-order.csv", "name,id\nblue circle,1\nred star,0\n"),
        ("from-1.csv", "class_id,class_name\n2,blue circle\n1,red star\n"),
        ("excel.csv", "\ufeffid;name\r\n0;red star\r\n1;blue circle\r\n"),
        ("excel-says.csv", "sep=;\r\nid;name\r\n0;red star\r\n1;blue circle\r\n"),
        ("tabs.tsv", "name\tdescription\nred star\ta star, red\nblue circle\tround\n"),
        ("quoted.csv", 'Name,Notes\n"red star","a ""star"""\n"blue circle",\n'),
        ("pandas.csv", ",label\n0,red star\n1,blue circle\n"),
        ("one-column.csv", '"red star"\n"blue circle"\n'),
        ("one-column-header.csv", "class\nred star\nblue circle\n"),
        ("pasted.txt", "'red star',\n'blue circle',\n"),
        ("pasted-without-commas.txt", "'red star'\n'blue circle'\n"),
        ("pasted-list.txt", "['red star', \"blue circle\"]"),
        ("pasted-name.py", "CLASSES = (\n    'red star',\n    'blue circle',\n)\n"),
        ("pasted-dict.txt", "{0: 'red star',\n 1: 'blue circle'}"),
        ("bullets.txt", "- red star\n- blue circle\n"),
        ("yolo.yaml", "names:\n  0: red star\n  1: blue circle\n"),
        ("yaml-list.yaml", "classes:\n- 'red star'\n- blue circle\n"),
        ("yolo-data.yaml", "# data\npath: ../coco\nnc: 2\nnames:\n  0: red star  # 1\n  1: blue circle\nval: x\n"),
        ("yolo-flow.yml", "nc: 2\nnames: ['red star', blue circle]\n"),
        ("numbered.txt", "1. red star\n2. blue circle\n"),
        ("darknet.txt", "0 red star\n1 blue circle\n"),
        ("numbers-first.csv", "0,red star\n1,blue circle\n"),
        ("old-mac.txt", "red star\rblue circle\r"),
        ("copied.txt", "\u200bred\u00a0star \n\ufeffblue circle\u2060\t\n\n"),
        ("list.json", '["red star", "blue circle"]'),
        ("id2label.json", '{"1": "blue circle", "0": "red star"}'),
        ("config.json", '{"model_type": "vit", "id2label": {"0": "red star", "1": "blue circle"}}'),
        ("label2id.json", '{"blue circle": 1, "red star": 0}'),
        ("pairs.json", '[[1, "blue circle"], [0, "red star"]]'),
        ("coco.json", '{"info": {}, "categories": [{"id": 1, "name": "red star"}, {"id": 7, "name": "blue circle"}]}'),
        ("lines.jsonl", '{"name": "red star"}\n{"name": "blue circle"}\n'),
        ("clip.json", '{"classes": ["red star", "blue circle"], "templates": ["a {}."]}'),
    ],
)  # fmt: skip
def test_classes_of_every_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert classes(tmp_path / name).names == TWO


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("imagenet_class_index.json", '{"1": ["n02102040", "blue_circle"], "0": ["n01440764", "red_star"]}'),
        ("pairs.json", '[["n01440764", "red star"], ["n02102040", "blue circle"]]'),
        ("object.json", '{"n01440764": "red star", "n02102040": "blue circle"}'),
        ("table.csv", "wnid,label\nn01440764,red star\nn02102040,blue circle\n"),
        ("no-header.csv", "n01440764,red star\nn02102040,blue circle\n"),
        ("ours.json", json.dumps({"class_names": TWO, "class_keys": KEYS, "templates": ["a {}."]})),
    ],
)
def test_synset_ids_are_keys(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = classes(tmp_path / name)
    assert (found.names, found.keys) == (TWO, KEYS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_of_every_form(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_text("Käfer\n赤い星\n", encoding=encoding)
    assert classes(tmp_path / "classes.txt").names == ("Käfer", "赤い星")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.txt", "un\ncafé\n".encode("latin-1"), r"not UTF-8 \(byte 0xe9 in line 2\); in Windows-1252 .* 'café'"),
        ("cut.txt", b"\xff\xfea", "not valid UTF-16-LE"),
        ("book.xlsx", b"PK\x03\x04rest", "a zip file or workbook, not text"),
        ("zeros.txt", b"a\0b\0\0\0c", "a binary file, not text"),
        ("unknown.csv", b"Kategorie;Preis\nrot;3\nblau;4\n", "does not say which column .* 'Kategorie', 'Preis'"),
        ("images.csv", b"id,number\n0,1\n1,2\n", "holds the columns id, number, and none"),
        (
            "images.txt",
            b"filename,label\n1.jpg,cat\n2.jpg,dog\n",
            "lists images, not classes: its columns are filename, label",
        ),
        (
            "images.jsonl",
            b'{"file_name": "1.jpg", "label": "cat"}\n' * 2,
            "lists images, not classes: its fields are file_name",
        ),
        ("other.yaml", b"path: x\nval: y\n", "is YAML, and holds no list of names"),
        ("gaps.json", b'{"0": "red star", "2": "blue circle"}', "from 0 to 2, with gaps or repeats"),
        ("numbers.json", b"[1, 2]", "list of strings, and holds a list with 1"),
        ("deep.json", b'[["a", "b"]]', "not a synset ID or a number with a name"),
        ("nested.json", b'{"cat": {"prompt": "a cat"}}', "'cat' has an object with 'prompt'"),
        ("templates.txt", b"a photo of a {}.\nart of the {c}.\n", "holds templates, not classes"),
        ("empty.json", b"[]", "an empty list"),
        ("empty-name.csv", b"id,name\n0,red star\n1,\n", "class name 2 .* is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PromptError, match=message):
        classes(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("tabby, tabby cat\ntiger, Panthera tigris\n", ("tabby, tabby cat", "tiger, Panthera tigris")),
        ("1 euro\n2 euro\n", ("1 euro", "2 euro")),
        ("2 cats\n3 dogs\n", ("2 cats", "3 dogs")),
        ("0\n1\n", ("0", "1")),
        ("7", ("7",)),
        ("001\n002\n", ("001", "002")),
        ("'tis\nit's\n", ("'tis", "it's")),
        ("jack-o'-lantern\n", ("jack-o'-lantern",)),
        ("label\nname\n", ("label", "name")),
        ("True\nNone\n", ("True", "None")),
        ("animals:\n- 1\n", ("animals:", "- 1")),
        ("1is\n'\\d'x\n", ("1is", "'\\d'x")),
    ],
)
def test_names_that_only_look_like_another_form_stay_as_they_are(
    tmp_path: Path, content: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "names.txt").write_text(content)
    assert classes(tmp_path / "names.txt").names == names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.txt", "a photo of a {label}, big.\nart of the {class}.\n"),
        ("pasted.txt", "    'a photo of a {}, big.',\n    'art of the {}.',\n"),
        ("open_clip.py", "T = (\n    lambda c: f'a photo of a {c}, big.',\n    lambda c: f'art of the {c}.',\n)\n"),
        ("lambdas.txt", "lambda c: f'a photo of a {c}, big.',\nlambda c: f'art of the {c}.',\n"),
        ("list.json", '["a photo of a {c}, big.", "art of the {}."]'),
        ("object.json", '{"classes": ["x"], "templates": ["a photo of a {c}, big.", "art of the {}."]}'),
        ("objects.jsonl", '{"template": "a photo of a {}, big."}\n{"template": "art of the {}."}\n'),
        ("table.csv", 'id;template\n0;"a photo of a {}, big."\n1;art of the {}.\n'),
        ("plain.csv", "a photo of a {}, big.\nart of the {}.\n"),
        ("bullets.md", "* a photo of a {}, big.\n* art of the {}.\n"),
    ],
)
def test_templates_of_every_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert templates(tmp_path / name) == ("a photo of a {}, big.", "art of the {}.")


def test_one_line_of_templates(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("a photo of a {}, a type of pet.")
    assert templates(path) == ("a photo of a {}, a type of pet.",)
    path.write_text("a photo of a {},a drawing of a {c}")
    assert templates(path) == ("a photo of a {}", "a drawing of a {}")


def test_python_is_parsed_and_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    for source in (f"[open({str(proof)!r}, 'w')]", f"__import__('os').mkdir({str(proof)!r})", "[x for x in 'ab']"):
        assert value_of(source) is None
    assert not proof.exists()
    assert value_of("[" * 50_000) is None
    assert value_of("-" * 50_000 + "1") is None


def test_the_form_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,name\n0,red star\n")
    assert classes(tmp_path / "c.csv").form == "a table, column 'name'"
    (tmp_path / "c.txt").write_text("red star\n")
    assert classes(tmp_path / "c.txt").form is None


_WORDS = st.sampled_from(
    ["0", "1", "2", "name", "label", "id2label", "classes", "class_keys", "prompts", "n01440764", "a {}"]
)
_SCALARS = _WORDS | st.text(max_size=3) | st.integers(-1, 3) | st.booleans() | st.none() | st.floats()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3), max_leaves=8
)


@settings(deadline=None)
@given(_VALUES)
def test_whatever_json_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    for read in (classes, templates):
        with contextlib.suppress(PromptError):
            assert read(path)
    with contextlib.suppress(SourceError):
        read_ground_truth(path)


@settings(deadline=None)
@example(text="(0)")
@given(st.text("ab01,;\t\n'\"[]{}():=#.- ", max_size=30))
def test_whatever_a_text_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for name in ("any.txt", "any.csv", "any.yaml"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_text(text)
        for read in (classes, templates):
            with contextlib.suppress(PromptError):
                assert read(path)
        with contextlib.suppress(SourceError):
            read_ground_truth(path)


def test_synset_ids_alone_get_the_names_of_imagenet(tmp_path: Path) -> None:
    (tmp_path / "wnids.txt").write_text("n02102040\nn01440764\n")
    for spec in (tmp_path / "wnids.txt", ["n02102040", "n01440764"], "n02102040,n01440764"):
        found = prompts.read_classes(spec, provide)
        assert (found.names, found.keys) == (("English Springer Spaniel", "tench"), ("n02102040", "n01440764"))
    with pytest.raises(PromptError, match="synset IDs without names, and 'n99999999' are not in imagenet1k"):
        prompts.read_classes(["n01440764", "n99999999"], provide)


def test_a_preview_shows_what_will_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zsretrieve")
    (tmp_path / "c.csv").write_text("id;name\n0;red star\n")
    (tmp_path / "t.txt").write_text("- a {label}\n")
    content = zs.read_prompt_set(tmp_path / "c.csv")
    assert (content.to_dict(), content.templates) == ({"class_names": ["red star"]}, None)
    assert zs.read_prompt_set(tmp_path / "t.txt").to_dict() == {"templates": ["a {}"]}
    assert caplog.messages == [
        f"'{tmp_path}/c.csv' holds 1 class: a table, column 'name'",
        f"'{tmp_path}/t.txt' holds 1 template: a bulleted list",
    ]
    (tmp_path / "again.json").write_text(json.dumps(content.to_dict()))
    assert zs.read_prompt_set(tmp_path / "again.json").to_dict() == content.to_dict()
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(PromptError, match="a zip file or workbook"):
        zs.read_prompt_set(tmp_path / "book.xlsx")


@pytest.mark.parametrize("given", ["{}", "{c}", "{class}", "{label}"])
def test_every_placeholder_stands_for_the_class(given: str) -> None:
    read = prompts.read_templates([f"a {given} and a {given}."], lambda name: [])
    assert read.templates == ("a {} and a {}.",)


@pytest.mark.parametrize("content", ["{}\n", "{}", " {}\r\n\r\n"])
def test_the_bare_template_is_no_empty_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "bare.txt").write_text(content)
    assert templates(tmp_path / "bare.txt") == ("{}",)
