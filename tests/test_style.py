"""What people read follows docs/style.md: docs, help, messages, report pages and public docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from zsretrieve.cli.app import app

ROOT = Path(__file__).parent.parent
GUIDE = "docs/style.md"
# Where the guide is not followed yet: paths, or how they begin, and commands. It only shrinks.
NOT_YET: tuple[str, ...] = ()
# Captions that a model is trained on, in the words of many writers.
DATA = ("zsretrieve/demo/captions.py",)


def texts(*patterns: str) -> Iterator[tuple[str, str]]:
    """The files of the project that match, each with its path."""
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def avoided() -> list[tuple[re.Pattern[str], str]]:
    """The expressions of the guide's table, each with what to write instead.

    Paths, options and identifiers are names rather than words, so what touches a word must not make it one of these.
    """
    rows = re.findall(r"^\| (`.*`) \| (.+) \|$", (ROOT / GUIDE).read_text(encoding="utf-8"), re.MULTILINE)
    return [
        (re.compile(rf"(?<![\w/~.-])(?:{expression})(?![\w/-]|\.\w)", re.IGNORECASE), instead)
        for cell, instead in rows
        for expression in re.findall(r"`([^`]+)`", cell)
    ]


AVOIDED = avoided()


def violations(text: str) -> list[str]:
    """Where a text has an expression of the guide outside of code formatting, and what to write instead."""
    text = " ".join(re.sub(r"``.*?``|`[^`]*`", " ", text, flags=re.DOTALL).split())
    found = ((match, instead) for pattern, instead in AVOIDED for match in pattern.finditer(text))
    return [f"'{text[max(0, m.start() - 30) : m.end() + 30]}': write {instead}" for m, instead in found]


def prose(page: str) -> str:
    """The Markdown of a page without blocks of code, addresses and comments."""
    page = re.sub(r"^([ \t]*)(```|~~~).*?^\1\2", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\]\([^)]*\)|<!--.*?-->", " ", page, flags=re.DOTALL)


def html_text(template: str) -> str:
    """The text of a Jinja template without markup, styles and expressions."""
    template = re.sub(r"<(style|script)\b.*?</\1>|\{([%{#]).*?[%}#]\}", " ", template, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", template)


def messages(module: str) -> Iterator[str]:
    """The literals of a module that hold more than a word, and the docstrings of its public functions and classes.

    Of an f-string, what is computed stands as ``{}``.
    """
    tree = ast.parse(module)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.add(first.value)
                if not isinstance(node, ast.Module) and not node.name.startswith("_"):
                    yield ast.get_docstring(node) or ""
    whole = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings | whole:
            text = node.value
        else:
            continue
        if re.search(r"\w\W*\s\W*[\w{]", text):
            yield text


def helps(command: Any, path: str = "zsretrieve") -> Iterator[tuple[str, str]]:
    """The help of a command, of its options and of the commands below it, each with the command."""
    children = getattr(command, "commands", {})
    command = command.load() if hasattr(command, "load") else command
    for text in (command.help, command.short_help, command.epilog, *(getattr(p, "help", "") for p in command.params)):
        yield path, text or ""
    for name, child in children.items():
        yield from helps(child, f"{path} {name}")


READ: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "pages": lambda: ((name, prose(page)) for name, page in texts("*.md", "docs/**/*.md", "zsretrieve/**/*.md")),
    "reports": lambda: ((name, html_text(page)) for name, page in texts("zsretrieve/**/*.j2")),
    "messages": lambda: ((name, text) for name, source in texts("zsretrieve/**/*.py") for text in messages(source)),
    "help": lambda: helps(get_command(app)),
}


@pytest.mark.parametrize("kind", READ)
def test_what_people_read_follows_the_guide(kind: str) -> None:
    found = [
        f"{name}: {violation}"
        for name, text in READ[kind]()
        if not name.startswith((*NOT_YET, *DATA))
        for violation in violations(text)
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "text",
    ["it tells which", "Told twice", "mends it", "X cannot be had", "'a' is no number", "which are no\nUTF-8",
     "where it lies", "a picture", "Pictures are", "in the passport", "on the front.", "images a batch",
     "goes on where"],
)  # fmt: skip
def test_the_guide_finds(text: str) -> None:
    assert violations(text)


@pytest.mark.parametrize(
    "text",
    ["there is no index", "it is no longer there", "in front of", "the Pareto front", "~/Pictures", "indexes/pictures",
     "--report-pictures", "--front", "untold", "recommends", "the earliest", "believes", "is not a number",
     "cannot tell them apart", "others stand in for it", "the key `lifted`", "``told``"],
)  # fmt: skip
def test_the_guide_leaves_alone(text: str) -> None:
    assert not violations(text)


def test_only_prose_and_messages_are_read() -> None:
    page = "He told [x](told.md)\n\n```text\ntold\n```\n\n  ```console\n  $ told\n  ```\nend"
    assert prose(page).split() == ["He", "told", "[x", "end"]
    assert html_text("<style>p { }</style><p>told {{ x | told }}{% if told %}</p>").split() == ["told"]
    source = '''
def f(x):
    """A docstring that is read."""
    raise ValueError(f"the file {x['told']} told", hint="mend " "it")

def _g():
    """A docstring that is not."""
    return {"told": "lifted"}
'''
    assert sorted(messages(source)) == ["A docstring that is read.", "mend it", "the file {} told"]
