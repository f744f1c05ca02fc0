"""The stages of the work, shown on a terminal, on a pipe and not at all."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from zsretrieve.cli import output

SCRIPT = """
import sys, warnings
from zsretrieve.cli import output
output.set_quiet('quiet' in sys.argv)
with output.progress(lines='lines' in sys.argv) as on_stage:
    on_stage('loading demo', 0, 1)
    output.note('a note while a step goes on')
    sys.stderr.write('\\rweights:  50%')
    sys.stderr.write('\\rweights: 100%\\n')
    on_stage('loading demo', 1, 1)
    for done in range(61):
        on_stage('encoding images', done, 60)
    on_stage('encoding images', 0, 30)
    on_stage('searching', 0, 1)
    print('a result')
    warnings.warn('odd')
assert sys.stderr is sys.__stderr__
"""


def run(*words: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_on_a_terminal_each_stage_has_a_line_and_notes_stay_whole() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=theirs, text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    assert process.communicate()[0] == "a result\n"
    assert process.returncode == 0
    text = shown.decode()
    for whole in (
        "a note while a step goes on\r\n",
        "weights: 100%\r\n",
        "UserWarning: odd\r\n",
        "60/60",
        "0/30",
        "/s",
    ):
        assert whole in text, whole
    assert "Traceback" not in text


def test_on_a_pipe_there_is_nothing_but_notes_or_a_line_for_each_stage() -> None:
    out, err = run()
    assert out == "a result\n"
    assert err.splitlines()[:3] == ["a note while a step goes on", "", "weights:  50%"]
    assert "encoding" not in err
    lines = run("lines")[1].splitlines()
    assert [line for line in lines if line in ("loading demo", "encoding images", "searching")] == [
        "loading demo", "encoding images", "searching",
    ]  # fmt: skip


def test_quiet_shows_no_stage() -> None:
    assert "loading" not in "".join(run("quiet", "lines"))


def test_a_terminal_gets_lines_that_end_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/photos/" + "x" * 60
    text = f"nothing seems to match in {path} which is a rather long name of a file"
    terminal = output._console_class()(force_terminal=True, width=40)
    output.say(text, console=terminal)
    lines = capsys.readouterr().out.splitlines()
    assert path in lines
    assert [len(line) <= 40 or line == path for line in lines] == [True] * len(lines)
    assert " ".join(lines) == text
    output.say(text)
    assert capsys.readouterr().out == f"{text}\n"
