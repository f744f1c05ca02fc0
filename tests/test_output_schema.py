"""What commands print for programs is what docs/output.md says: fields, types, columns and examples."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from kits.output_page import check, columns, examples, fields, sections
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.ports import Encoder
from zsretrieve.store.named import folder_of

CLASSES = ("red circle", "blue star", "green heart", "white square")
LAB = "prompts compare, rank, sensitivity and select"
TABLE = """
classes = "scenes"
templates = ["raw"]
images = 12

[sources]
paper = "a paper of our own"

[[models]]
name = "demo"
title = "the bundled model"
paper = { raw = 90 }
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, demo_encoder: Encoder) -> Path:
    """Twelve scenes, two of them equal, and an unreadable file; their gallery, prototypes and runs."""
    root = tmp_path_factory.mktemp("output")
    for name in CLASSES:
        shutil.copytree(scene_folder / name, root / "photos" / name)
    first = next((root / "photos" / CLASSES[0]).iterdir())
    shutil.copy(first, first.with_name("copy.png"))
    (root / "photos" / CLASSES[1] / "broken.png").write_bytes(b"no")
    zs.build_gallery(root / "photos", root / "gallery", demo_encoder)
    shutil.copytree(root / "gallery", folder_of("@schema"))
    zs.build_gallery(root / "photos", root / "regions", demo_encoder, regions="pyramid:2")
    shutil.copy(first, root / "scene.png")
    for templates in ("raw", "openai7"):
        zs.build_prototypes(root / templates, ",".join(CLASSES), demo_encoder, templates=templates)
    twins = ",".join((*CLASSES, CLASSES[0]))
    zs.build_prototypes(root / "twins", twins, demo_encoder, templates="raw")
    zs.build_image_prototypes(root / "means", root / "gallery", shots=zs.Shots(1))
    zs.train_adapter(root / "gallery", root / "adapter", root / "raw", shots=zs.Shots(1))
    for templates in ("raw", "openai7"):
        outputs = zs.Outputs(run=root / f"{templates}.run")
        zs.evaluate(root / "gallery", root / templates, ranks=(1, 2), outputs=outputs)
    named = sorted(path.relative_to(root) for path in (root / "photos").rglob("[0-9]*.png"))
    rows = "\n".join(f"{path},a photo of a {path.parent.name}" for path in named)
    (root / "captions.csv").write_text(f"image,caption\n{rows}\n")
    zs.build_gallery(zs.open_texts(root / "captions.csv"), root / "captions", demo_encoder)
    terms = [zs.Term(zs.ItemId(1), box=(0, 0, 1, 0.5)), zs.Term(first, -0.5), zs.Term("red")]
    wanted = zs.Wanted(
        5,
        2,
        "id > 0",
        True,
        0.9,
        0.1,
        zs.Order.DATE,
        more=(1,),
        less=(2,),
        minus=("red",),
        exif=False,
        literal=True,
        files=False,
    )
    zs.save_search(root / "gallery", "everything", terms, wanted)
    (root / "table.toml").write_text(TABLE)
    return root


def printed(world: Path, line: str, form: str = "json") -> str:
    words = re.findall(r"[^ \"]+|\"[^\"]+\"", line)
    with contextlib.chdir(world):
        done = CliRunner().invoke(app, [*(word.strip('"') for word in words), "--format", form])
    assert done.exit_code == 0, (done.stderr, done.exception)
    return done.stdout


@pytest.mark.parametrize(
    ("line", "section", "common"),
    [
        ('search gallery "a red circle" -q blue', "search", None),
        ('search gallery "a red circle" --more 1 --explain -p raw', "search", None),
        ("search gallery --order date", "search", None),
        ('search regions "a red circle" -k 12', "search", None),
        ('look scene.png "a red circle" blue --model demo --method tiles --tiles pyramid:2', "look", None),
        ("index searches gallery", "index searches", None),
        ("classify gallery -p raw -k 2", "classify", None),
        ("classify gallery -p raw --reject-below 0.9", "classify", None),
        ("classify gallery -p raw --coverage 0.8 --calibrate gallery", "classify", None),
        ("classify gallery -p raw --propagate", "classify", None),
        ("evaluate gallery -p raw", "evaluate", None),
        ("evaluate gallery -p raw --coverage 0.8 --propagate", "evaluate", None),
        ("evaluate gallery -p twins -k 3 --retrieval --reject-below 1", "evaluate", None),
        ("evaluate gallery --captions captions.csv -k 1,2", "evaluate --captions", None),
        ("evaluate gallery --captions captions", "evaluate --captions", None),
        ('search captions "a red circle" -k 2', "search", None),
        ("index info captions", "index info", None),
        ("compare raw.run openai7.run", "compare", None),
        ("compare raw means --on gallery", "compare", None),
        ("index duplicates gallery", "index duplicates", None),
        ("index map gallery", "index map", None),
        ("index sync gallery", "index add, sync, remove and rebuild", None),
        ('index remove gallery "red*" --dry-run', "index add, sync, remove and rebuild", None),
        ("index sources gallery", "index sources", None),
        ("index list", "index list", None),
        ("index plan --gallery gallery --rate 50", "index plan", None),
        ("index info gallery", "index info", None),
        ("index info regions", "index info", None),
        ("index info raw", "index info", None),
        ("index info means", "index info", None),
        ("index info adapter", "index info", None),
        ("probe gallery probe --shots 2 --allow-fewer --c 1", "probe", None),
        ("fewshot train gallery tip -p raw --shots 2 --allow-fewer", "fewshot train", None),
        ("fewshot train gallery lp -p raw --method lp++", "fewshot train", None),
        ("train model --from-gallery gallery --steps 2 --held-out 0.3 --templates standard", "train", None),
        ("fewshot curve gallery -p raw --shots 1 --seeds 1 --c 1 --held-out 0.3", "fewshot curve", None),
        ("fewshot curve gallery -p raw --shots 2 --seeds 1 --c 1 --held-out 0.3 --adapters tip", "fewshot curve", None),
        ("prompts list", "prompts list", None),
        ("prompts show scenes", "prompts show", None),
        ("prompts show imagenette", "prompts show", None),
        ("prompts compare gallery -t raw -t standard", "prompts compare", LAB),
        ("prompts rank gallery -t openai7", "prompts rank", LAB),
        ("prompts rank gallery -t raw", "prompts rank", LAB),
        ("prompts sensitivity gallery -t openai7", "prompts sensitivity", LAB),
        ("prompts select gallery -t openai7", "prompts select", LAB),
        ("prompts similar raw", "prompts similar", None),
        ("prompts similar raw --gallery gallery", "prompts similar", None),
        ("models list", "models list", None),
        ("models list ViT-B-32 --all", "models list", None),
        ("models list --here demo", "models list --here", None),
        ("models show demo", "models show", None),
        ("models cache list", "models cache list", None),
        ("reproduce run photos --published table.toml --no-baseline --work work", "reproduce run", None),
        ("reproduce run photos --published table.toml --no-baseline --plan", "reproduce run --plan", None),
        (
            'reproduce explain demo photos --classes "red circle,blue star,green heart,white square" --templates raw '
            "--sample 4 --work explained --device cpu",
            "reproduce explain",
            None,
        ),
        ("doctor", "doctor", None),
    ],
)
def test_json_is_as_documented(world: Path, line: str, section: str, common: str | None) -> None:
    value = json.loads(printed(world, line))
    assert value
    check(value, section, common=common)


@pytest.mark.parametrize(
    ("line", "section"),
    [
        ('search gallery "a red circle"', "search"),
        ("classify gallery -p raw --reject-below 0.9", "classify"),
        ("index duplicates gallery", "index duplicates"),
        ("prompts compare gallery -t raw -t standard", "prompts compare"),
        ("prompts rank gallery -t openai7", "prompts rank"),
        ("prompts similar raw", "prompts similar"),
    ],
)
def test_csv_columns_are_as_documented(world: Path, line: str, section: str) -> None:
    assert next(csv.reader(io.StringIO(printed(world, line, "csv")))) == columns(section)


def test_jsonl_is_the_list_of_json(world: Path) -> None:
    lines = printed(world, "classify gallery -p raw", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(printed(world, "classify gallery -p raw"))


def test_the_tables_of_evaluate_have_the_columns_documented(world: Path) -> None:
    printed(world, "evaluate gallery -p raw -k 2 --retrieval-at 1,3 --reject-below 0.5 --csv tables")
    documented = fields("Files of evaluate --csv")
    assert {path.name for path in (world / "tables").iterdir()} == set(documented)
    for name, text in documented.items():
        fixed, _, rest = text.partition(", then ")
        header = next(csv.reader(io.StringIO((world / "tables" / name).read_text())))
        first = re.findall(r"`([^`]+)`", fixed)
        assert header[: len(first)] == first, name
        more = {
            "confusion_matrix.csv": [f"{number} {one}" for number, one in enumerate(CLASSES)],
            "images.csv": ["rejected"],
            "retrieval.csv": ["precision@1", "precision@3", "recall@1", "recall@3"],
        }
        assert header[len(first) :] == more.get(name, []), name
        assert bool(rest) is (name in more)


def test_flipped_images_have_the_columns_documented(world: Path) -> None:
    printed(world, "compare raw.run openai7.run --flipped flips.csv")
    assert (world / "flips.csv").read_text().splitlines()[0].split(",") == columns("compare")


def test_examples_are_as_documented() -> None:
    with_examples = [section for section in sections() if examples(section)]
    assert {"search", "classify", "evaluate", "compare", "interval"} <= set(with_examples)
    for section in with_examples:
        for example in examples(section):
            check(example, section)


def test_every_interval_is_one(world: Path) -> None:
    """Whatever a command calls an interval has the ends and the level of one."""

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                if key == "interval" or key.endswith("_interval"):
                    assert one is None or set(one) == {"low", "high", "level"}, key
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    for line in ("evaluate gallery -p raw --retrieval", "compare raw.run openai7.run", "prompts rank gallery -t raw"):
        look(json.loads(printed(world, line)))
