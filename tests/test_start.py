"""What is loaded when: a start must be quick, and a heavy library must be the business of the command that needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kits.hashing_encoder import HashingEncoder
from typer.main import get_command
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.cli.lazy import Later

HEAVY = (
    "torch", "open_clip", "timm", "transformers", "tokenizers", "openvino", "faiss", "pyarrow", "torchvision", "duckdb",
    "datasets", "scipy", "pandas", "huggingface_hub", "safetensors",
)  # fmt: skip
# What a list of commands needs less than its reader's patience.
NOT_FOR_HELP = (
    *HEAVY, "numpy", "PIL", "pydantic", "attr", "rich.markdown", "rich.traceback", "sqlite3", "platformdirs",
    "zsretrieve.api.gallery", "zsretrieve.encoders", "zsretrieve.store", "zsretrieve.gallery", "zsretrieve.evaluation",
)  # fmt: skip
NOT_FOR_SEARCH = (
    *(name for name in HEAVY if name != "pyarrow"), "pyarrow.dataset", "pydantic", "attr",
    "rich.markdown", "rich.traceback", "zsretrieve.evaluation", "zsretrieve.exchange", "zsretrieve.images.sources",
    "zsretrieve.api.gallery", "zsretrieve.api.models",
)  # fmt: skip


def loaded(code: str, names: tuple[str, ...] = HEAVY, env: dict[str, str] | None = None) -> set[str]:
    # Where coverage is measured, it has loaded modules of its own.
    found = f"' '.join(m for m in {names!r} if m in sys.modules and m not in before)"
    probe = f"import sys\nbefore = {{*sys.modules}}\n{code}\nprint({found})"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env={**os.environ, **(env or {})}
    )
    return set(done.stdout.splitlines()[-1].split())


def running(arguments: list[str]) -> str:
    """Code that runs the command line and goes on after it."""
    return (
        f"sys.argv = ['zsretrieve', *{arguments!r}]\nfrom zsretrieve.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code in (0, None), e.code"
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import zsretrieve") == set()
    assert loaded("import zsretrieve, zsretrieve.domain.errors, zsretrieve.domain.records, zsretrieve.api") == set()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["index", "--help"], ["index", "add", "--help"], ["search", "--help"],
     ["serve", "--help"], ["models", "list", "--help"], ["doctor", "--help"]],
)  # fmt: skip
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(running(arguments), NOT_FOR_HELP) == set()


@pytest.mark.parametrize("form", ["table", "json"])
def test_the_table_of_models_loads_no_model_library(form: str) -> None:
    assert loaded(running(["models", "list", "siglip", "--format", form])) == set()


def test_help_loads_only_the_command_it_is_about() -> None:
    names = ("classify", "doctor", "gallery", "index", "models", "reproduce", "search")
    commands = tuple(f"zsretrieve.cli.commands.{name}" for name in names)
    assert loaded(running(["--help"]), commands) == set()
    assert loaded(running(["search", "--help"]), commands) == {"zsretrieve.cli.commands.search"}


def later(command: Any) -> Iterator[Later]:
    for child in command.commands.values():
        if isinstance(child, Later):
            yield child
            child = child.load()
        if hasattr(child, "commands"):
            yield from later(child)


def test_commands_are_listed_with_the_first_words_of_their_own_help() -> None:
    listed = list(later(get_command(app)))
    assert len(listed) > 15
    for one in listed:
        own = one.load()
        assert one.name == own.name
        assert one.summary == own.summary != ""


def test_a_cached_search_needs_no_model(
    small_gallery: Path, tmp_path: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {"ZSRETRIEVE_CACHE": str(tmp_path / "cache")}
    monkeypatch.setenv("ZSRETRIEVE_CACHE", cache["ZSRETRIEVE_CACHE"])
    monkeypatch.setattr("zsretrieve.encoders.loading.planned_encoding", lambda compute: hashing_encoder.encoding)
    monkeypatch.setattr("zsretrieve.encoders.loading.Model.load", lambda model, space=None: hashing_encoder)
    for form in ("table", "json"):
        ask = ["search", str(small_gallery), "a red circle", "--format", form]
        assert CliRunner().invoke(app, ask).exit_code == 0
        assert loaded(running(ask), NOT_FOR_SEARCH, cache) == set()


def test_a_decimal_number_is_read_without_pydantic(small_gallery: Path) -> None:
    ask = ["index", "duplicates", str(small_gallery), "--near", "0.9"]
    assert loaded(running(ask), ("pydantic",)) == set()


def test_a_search_with_a_converted_model_loads_no_model_library(tmp_path: Path, scene_folder: Path) -> None:
    zs.export_model("demo")
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in sorted(scene_folder.rglob("*.png"))[:2]))
    zs.build_gallery(f"@{tmp_path}/list", tmp_path / "gallery", zs.Model("demo", zs.Compute(device="cpu")).load())
    ask = ["search", str(tmp_path / "gallery"), "a red circle", "--no-query-cache", "--device", "cpu"]
    needed = ("openvino", "tokenizers")
    assert loaded(running(ask), tuple(name for name in NOT_FOR_SEARCH if name not in needed)) == set()


def test_the_public_names_exist() -> None:
    import zsretrieve

    assert zsretrieve.__all__ == sorted(zsretrieve.__all__)
    for name in zsretrieve.__all__:
        assert getattr(zsretrieve, name) is not None
        assert name in dir(zsretrieve)
    assert {"cached_models", "calibrate", "clear_cache", "export_model"} <= set(zsretrieve.__all__)
    # The verbs' modules must not hide the functions of the same name.
    assert callable(zsretrieve.classify)
    assert callable(zsretrieve.search)
    with pytest.raises(AttributeError, match="attribute nothing"):
        zsretrieve.nothing  # noqa: B018
