"""What every help page looks like in a terminal of 80 columns, and what wrong usage prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Run
from typer.main import get_command
from typer.testing import CliRunner

from zsretrieve.cli.app import app
from zsretrieve.cli.lazy import Later

COLUMNS = 80


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    command = command.load() if isinstance(command, Later) else command
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


@pytest.fixture(scope="module")
def loaded() -> dict[tuple[str, ...], Any]:
    return dict(commands(get_command(app)))


@pytest.fixture(scope="module")
def pages(loaded: dict[tuple[str, ...], Any]) -> dict[tuple[str, ...], str]:
    def page(path: tuple[str, ...]) -> str:
        done = CliRunner().invoke(app, [*path, "--help"], prog_name="zsretrieve", terminal_width=COLUMNS)
        assert done.exit_code == 0, (path, done.output)
        return done.output

    return {path: page(path) for path in loaded}


def sections(page: str) -> dict[str, str]:
    """The texts under the titles ``Arguments:``, ``Options:`` and so on."""
    parts = re.split(r"^(\S.*):\n(?=  )", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_page_fits_and_starts_with_its_usage(pages: dict[tuple[str, ...], str]) -> None:
    assert len(pages) > 30
    for path, page in pages.items():
        lines = page.splitlines()
        assert page.startswith(" ".join(["Usage: zsretrieve", *path, "[OPTIONS]"])), path
        assert max(map(len, lines)) <= COLUMNS, (path, max(lines, key=len))
        assert not any(line.endswith(" ") for line in lines), path
        assert "\x1b" not in page


def test_no_page_shows_what_typer_or_rich_think_of_a_type(pages: dict[tuple[str, ...], str]) -> None:
    for path, page in pages.items():
        for odd in (r"<[a-z|\[\]]+>", r"\{[A-Z]", r"\[default: (no-|True|False)", "──"):
            assert re.search(odd, page) is None, (path, odd)
        usage = page.partition("\n\n")[0]
        assert "{" not in usage, path
        assert "[[" not in usage, path


def test_every_command_has_an_example_on_a_line_of_its_own(
    pages: dict[tuple[str, ...], str], loaded: dict[tuple[str, ...], Any]
) -> None:
    for path, page in pages.items():
        if not hasattr(loaded[path], "commands"):
            assert f"\n\nExample: {' '.join(['zsretrieve', *path])}" in page, path


def test_common_options_come_first_and_rare_ones_last(pages: dict[tuple[str, ...], str]) -> None:
    for path, page in pages.items():
        titles = list(sections(page))
        assert "Options" in titles, path
        options = [title for title in titles if title not in ("Arguments", "Commands")]
        assert options[0] == "Options", path
        if "Advanced" in options:
            assert options[-1] == "Advanced", path
        assert sections(page)["Options"].strip().splitlines()[-1].split() == [
            "-h,", "--help", "Show", "this", "message", "and", "exit.",
        ], path  # fmt: skip


def test_choices_are_not_cut_and_arguments_are_named_as_in_the_usage(pages: dict[tuple[str, ...], str]) -> None:
    flat = {path: " ".join(page.split()) for path, page in pages.items()}
    search = flat["search",]
    assert search.startswith("Usage: zsretrieve search [OPTIONS] GALLERY [QUERY...] Search ")
    assert "--format FORMAT How to print. [choices: table, json, jsonl, csv] [default: table]" in search
    assert "[choices: auto, fp32, bf16, fp16, int8] [default: auto]" in search
    assert "--near SCORE" in search
    assert flat["index", "remove"].startswith("Usage: zsretrieve index remove [OPTIONS] GALLERY [PATH...] ")
    assert "--compile / --no-compile Run the model through" in flat["index", "gallery"]
    assert "--skipped FILE Write" in flat["index", "gallery"]


def test_lists_of_commands_give_the_first_paragraph_of_each(loaded: dict[tuple[str, ...], Any]) -> None:
    for path, command in loaded.items():
        for name, child in getattr(command, "commands", {}).items():
            assert child.summary == loaded[*path, name].summary != "", (path, name)


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["search"], "missing argument 'GALLERY'", "zsretrieve search --help"),
        (["search", "g", "q", "-k", "x"], "-k: 'x' is not a whole number", "zsretrieve search --help"),
        (["index", "gallery", "s", "o", "--batch-size", "0"], "--batch-size: 0 is less than 1", "gallery --help"),
        (
            ["evaluate", "s", "--wanted-precision", "much"],
            "--wanted-precision: 'much' is not a number",
            "evaluate --help",
        ),
        (
            ["search", "g", "q", "--format", "xml"],
            "--format: 'xml' is not one of 'table', ",
            "zsretrieve search --help",
        ),
        (["search", "g", "q", "--nothing"], "no such option: --nothing", "zsretrieve search --help"),
        (["serch"], "no such command 'serch'. Did you mean 'search', 'serve'?", "zsretrieve --help"),
    ],
)
def test_wrong_usage_is_an_error_and_a_hint(run_cli: Run, words: list[str], error: str, hint: str) -> None:
    done = run_cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    first, last = done.stderr.splitlines()
    assert first.startswith(f"error: {error}")
    assert last.endswith(hint)
    assert last.startswith("hint: See: ")


def test_a_group_without_a_command_prints_its_help(run_cli: Run) -> None:
    done = run_cli("index")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == run_cli("index", "--help").stdout
