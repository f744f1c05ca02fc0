"""Printing for people and for programs."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from zsretrieve.cli.later import console_class
from zsretrieve.errors import SourceError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID
    from rich.table import Table

    from zsretrieve.records import Skipped
    from zsretrieve.verbs.encode import OnProgress

SKIPPED_COLUMNS = ("path", "reason")

# A pipe has no width; a table in it must not be cut to that of a small terminal.
_PIPE_WIDTH = 160


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class ReportFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Verbosity:
    """How much is told on stderr."""

    quiet: bool = False


def out() -> Console:
    """Where results for people go: stdout."""
    return console_class()(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def err() -> Console:
    """Where everything else goes: stderr."""
    return console_class()(stderr=True, highlight=False, soft_wrap=True)


def note(verbosity: Verbosity, text: str) -> None:
    """One line for people on stderr, unless they asked for quiet."""
    if not verbosity.quiet:
        err().print(text, markup=False)


class Notes(logging.Handler):
    """Tells people on stderr what the library has to say."""

    def emit(self, record: logging.LogRecord) -> None:
        err().print(record.getMessage(), markup=False)


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table whose long cells fold rather than lose text."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def show(made: Table, title: str | None = None) -> None:
    console = out()
    if title is not None:
        console.print(cell(title), style="bold", soft_wrap=True)
    console.print(made)


def cell(text: str) -> str:
    """A text as a table cell: no markup, and bytes that are no UTF-8 made visible."""
    from rich.markup import escape

    shown = text.replace("\n", "\\n").replace("\r", "\\r")
    return escape(shown.encode("utf-8", "backslashreplace").decode("utf-8"))


def path_cell(path: str) -> str:
    """A path as a table cell, relative to the current folder where it lies below it."""
    here = f"{Path.cwd()}{os.sep}"
    return cell(path.removeprefix(here))


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def write_rows(rows: Sequence[dict[str, Any]], form: OutputFormat) -> None:
    """Rows for programs on stdout: a JSON array, one JSON object a line, or CSV with a header."""
    match form:
        case OutputFormat.JSON:
            write_json(rows)
        case OutputFormat.JSONL:
            for row in rows:
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        case OutputFormat.CSV:
            if rows:
                writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        case OutputFormat.TABLE:
            raise ValueError("a table is not for programs")


def write_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def progress(verbosity: Verbosity, what: str) -> Iterator[OnProgress | None]:
    """A bar with count, rate and time left on stderr; nothing when stderr is no terminal or quiet is asked for."""
    if verbosity.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task(what, total=None, rate="")

        def on_progress(done: int, total: int) -> None:
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.0f}/s" if speed else "")

        yield on_progress


@contextlib.contextmanager
def stages(verbosity: Verbosity) -> Iterator[Callable[[str, int, int], None]]:
    """Progress through several stages, one bar each; without a terminal, one line each."""
    if verbosity.quiet:
        yield lambda what, done, total: None
        return
    if not sys.stderr.isatty():
        told: set[str] = set()

        def say(what: str, done: int, total: int) -> None:
            if what not in told:
                told.add(what)
                sys.stderr.write(f"{what}\n")

        yield say
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield draw


@contextlib.contextmanager
def working(verbosity: Verbosity, what: str) -> Iterator[None]:
    """A spinner on stderr for work without a count, e.g. loading a model."""
    if verbosity.quiet or not sys.stderr.isatty():
        yield
        return
    with err().status(what):
        yield


@contextlib.contextmanager
def opened(file: Path) -> Iterator[TextIO]:
    """A file to write a list into. One that is stdout or stderr already, as /dev/stdout is, goes on where that is:
    opened anew, a file that the shell sends it to would be written from its start twice.

    Raises SourceError if the system refuses.
    """
    try:
        stream = open_already(file)
        if stream is not None:
            yield stream
            stream.flush()
            return
        with open(file, "w", newline="", encoding="utf-8", errors="backslashreplace") as handle:
            yield handle
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SourceError(f"'{file}' cannot be written: {error.strerror}", hint="Check the path.") from error


def open_already(file: Path) -> TextIO | None:
    """Stdout or stderr if the file is that."""
    for stream in (sys.stdout, sys.stderr):
        # There may be no such file, and a stream need not have a descriptor.
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(os.stat(file), os.fstat(stream.fileno())):
                return stream
    return None


def report_skipped(verbosity: Verbosity, skipped: Sequence[Skipped], file: Path | None) -> None:
    """Count what was left out, and list it in ``file`` (CSV: path, reason) if one is given."""
    if file is not None:
        with opened(file) as handle:
            writer = csv.writer(handle)
            writer.writerow(SKIPPED_COLUMNS)
            writer.writerows([s.path, s.reason] for s in skipped)
    if skipped:
        where = f"listed in {file}" if file is not None else "list them with --skipped FILE"
        # A folder or an archive that is missing in part weighs more than a file.
        first = next((one for one in skipped if one.reason.startswith(("folder: ", "archive: "))), skipped[0])
        path = first.path.encode("utf-8", "backslashreplace").decode()
        note(verbosity, f"{len(skipped)} skipped ({where}); first: {path}: {first.reason}")
