"""Texts from outside, such as names of files and classes, reach the terminal as they are written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Run
from PIL import Image

from zsretrieve.cli import app, output

NAMES = {
    "12:clock1:30.jpg": "12:clock1:30.jpg",
    "[bold]x.jpg": "[bold]x.jpg",
    "back\\[slash].jpg": "back\\[slash].jpg",
    "esc\x1b[31mred.jpg": "esc\\x1b[31mred.jpg",
    "rtl\u202egpj.jpg": "rtl\\u202egpj.jpg",
    "new\nline.jpg": "new\\nline.jpg",
    "return\r.jpg": "return\\r.jpg",
}


def test_names_and_labels_are_not_markup_nor_commands(tmp_path: Path, run_cli: Run) -> None:
    for name in NAMES:
        Image.new("RGB", (30, 30), "red").save(tmp_path / name)
    (tmp_path / "bad:heart:\x1b[2J.jpg").write_text("no image")
    labels = ":heart:,[red]b[/red],\x9bA,\u2067x"
    done = run_cli("classify", ".", "--labels", labels, "--templates", "{}", "--model", "demo", "-k", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for shown in (*NAMES.values(), "[red]b[/red]"):
        assert shown in done.stdout
    assert "bad:heart:\\x1b[2J.jpg: not a readable image" in done.stderr
    for unseen in ("\x1b", "\x9b", "\u202e", "\u2067", "\r"):
        assert unseen not in done.stdout + done.stderr


def test_errors_show_what_was_given(run_cli: Run) -> None:
    done = run_cli("search", "no[/]where:heart:\x1b[2J", "query")
    assert done.returncode == 1
    assert "no[/]where:heart:\\x1b[2J" in done.stderr
    assert "\x1b" not in done.stderr
    done = run_cli("classify", "x", "--labels", "a", "--format", ":smile:\x1b[2J")
    assert done.returncode == 2
    assert ":smile:" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(("width", "colour"), [("0", "1"), ("x", ""), ("40", "1")])
def test_odd_terminals(
    width: str, colour: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", colour)
    table = output.table("image")
    table.add_row(output.cell("a:heart:.jpg"))
    output.show(table, ":heart: [b]title")
    printed = capsys.readouterr().out
    assert ":heart: [b]title" in printed
    assert "a:heart:.jpg" in printed
    assert "\x1b" not in printed


def test_closed_streams_are_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    app._open_closed_streams()
    sys.stdout.write("lost")
    assert sys.stdin.read() == ""
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()
