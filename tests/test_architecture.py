"""What import-linter cannot say of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zsretrieve as zs

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "zsretrieve"
MODULES = sorted(PACKAGE.rglob("*.py"))

COMPUTE = {"device", "precision", "engine", "batch_size", "compile", "compiled"}
READING = {"exif", "strict", "max_pixels", "max_megapixels", "fast", "fast_decode", "workers"}


def signatures(module: Path) -> Iterator[tuple[str, set[str]]]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            yield node.name, {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


@pytest.mark.parametrize("values", [COMPUTE, READING], ids=["Compute", "Reading"])
def test_settings_travel_as_values(values: set[str]) -> None:
    below = [module for module in MODULES if "cli" not in module.relative_to(PACKAGE).parts]
    loose = [
        f"{module.relative_to(ROOT)}: {name}({', '.join(sorted(names & values))})"
        for module in below
        for name, names in signatures(module)
        if len(names & values) > 2
    ]
    assert not loose


def test_files_stay_short() -> None:
    long = {str(module.relative_to(ROOT)): n for module in MODULES if (n := len(module.read_text().splitlines())) > 400}
    assert not long


def test_every_room_says_what_it_is() -> None:
    silent = [
        str(package.relative_to(ROOT))
        for package in PACKAGE.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(package.read_text()))
    ]
    assert not silent


def test_the_picture_of_the_rooms_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "draw_rooms"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_architecture_page_names_what_exists() -> None:
    words = (ROOT / "docs" / "architecture.md").read_text().split("`")[1::2]
    paths = [word for word in words if "/" in word and "<" not in word and " " not in word]
    assert len(paths) > 20
    missing = [path for path in paths if not any((base / path).exists() for base in (ROOT, PACKAGE, ROOT / "docs"))]
    assert not missing


def test_every_public_name_is_there() -> None:
    assert len(zs.__all__) == len(set(zs.__all__)) > 40
    for name in zs.__all__:
        assert getattr(zs, name) is not None, name
