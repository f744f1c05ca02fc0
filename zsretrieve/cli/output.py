"""Printing for people and for programs."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from zsretrieve.cli.parameters import with_options
from zsretrieve.domain.errors import SourceError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text

    from zsretrieve.domain.ports import OnStage
    from zsretrieve.domain.records import Skipped

SKIPPED_COLUMNS = ("path", "reason")

# A pipe has no width; a table in it must not be cut to that of a small terminal.
_PIPE_WIDTH = 160


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class TableFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class ReportFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


_BAR_WIDTH = 24

_log = logging.getLogger("zsretrieve")
# That of the progress that is shown now: other output must come from the same, to stand above it.
_console: Console | None = None


def set_quiet(quiet: bool) -> None:
    """Print the notes of the command line and the library on stderr, or with ``quiet`` only errors."""
    _log.propagate = False
    _log.setLevel(logging.CRITICAL if quiet else logging.INFO)
    if not any(isinstance(handler, Notes) for handler in _log.handlers):
        _log.addHandler(Notes())


def is_quiet() -> bool:
    return not _log.isEnabledFor(logging.INFO)


# Control characters, which a terminal obeys, those that turn the direction of text, and bytes that are not UTF-8.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def visible(text: str) -> str:
    """A text with its control characters written as escapes, as Python writes them."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@functools.cache
def _console_class() -> type[Console]:
    """A console that prints texts as they are: names of files and classes are not markup, emoji codes or commands."""
    imported = _import_console()

    class Plain(imported):  # type: ignore[misc, valid-type]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, highlight=False, markup=False, emoji=False)

        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(visible(text), **options)

    return Plain


def _import_console() -> type[Console]:
    """rich.console without attrs, which it would import only to print its objects."""
    if "rich.console" in sys.modules or "attr" in sys.modules:
        from rich.console import Console
    else:
        sys.modules["attr"] = None  # type: ignore[assignment]
        try:
            from rich.console import Console
        finally:
            del sys.modules["attr"]
    return Console


def out() -> Console:
    """Where results for people go: stdout."""
    return _console_class()(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def err() -> Console:
    """Where notes and errors go: stderr, above the progress while there is one."""
    return _console or _console_class()(stderr=True)


def say(text: str, style: str | None = None, *, console: Console | None = None) -> None:
    """Print a paragraph, on stdout unless another console is given.

    A terminal gets lines that end between words, and words as long as they are, so that a path can be copied; a pipe
    gets one line.
    """
    console = console or out()
    if console.is_terminal:
        lines = (
            textwrap.wrap(line, console.width, break_long_words=False, break_on_hyphens=False)
            for line in text.split("\n")
        )
        text = "\n".join("\n".join(line) for line in lines)
    console.print(text, style=style, soft_wrap=True)


def note(text: str) -> None:
    """Print a line on stderr, unless --quiet."""
    _log.info(text)


def print_error(message: str, hint: str | None = None) -> None:
    """Two lines on stderr: what is wrong, and what to do next."""
    console = err()
    say(f"error: {with_options(' '.join(message.split()))}", "red" if console.is_terminal else None, console=console)
    if hint:
        say(f"hint: {with_options(' '.join(hint.split()))}", console=console)


class Notes(logging.Handler):
    """Prints notes on stderr, above the progress if it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        say(with_options(self.format(record)), console=err())


def table(*columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """A table whose long cells fold instead of being cut; those to stay ``whole`` fold last."""
    from rich import box
    from rich.table import Table

    new = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        new.add_column(column, justify=justify, overflow="fold", no_wrap=column in whole)
    return new


def show(table: Table, title: str | None = None) -> None:
    console = out()
    if title is not None:
        say(cell(title), "bold")
    console.print(table)


def cell(text: str) -> str:
    """A text as a table cell: in one line."""
    return visible(text).replace("\n", "\\n")


def styled(text: str, style: str) -> Text:
    """A table cell in a style of rich's."""
    from rich.text import Text

    return Text(text, style)


def path_cell(path: str) -> str:
    """A path as a table cell, relative to the current folder if it is inside."""
    here = f"{Path.cwd()}{os.sep}"
    return cell(path.removeprefix(here))


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def write_rows(rows: Sequence[dict[str, Any]], form: OutputFormat, columns: Sequence[str] = ()) -> None:
    """Print rows for programs: a JSON array, one JSON object per line, or CSV with a header, which without rows has
    ``columns``.
    """
    match form:
        case OutputFormat.JSON:
            write_json(rows)
        case OutputFormat.JSONL:
            for row in rows:
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        case OutputFormat.CSV:
            if names := list(rows[0] if rows else columns):
                writer = csv.DictWriter(sys.stdout, fieldnames=names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        case OutputFormat.TABLE:
            raise ValueError("a table is not for programs")


def write_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def progress(*, lines: bool = False) -> Iterator[OnStage]:
    """Show the stages of the work on stderr: a spinner for a stage of one step, else a bar, the rate and the time left.

    Without a terminal nothing is shown, or with ``lines`` the name of each stage; with ``--quiet`` nothing.
    """
    if is_quiet() or not (lines or sys.stderr.isatty()):
        yield lambda stage, done, total: None
        return
    if not sys.stderr.isatty():
        yield _stage_lines()
        return
    global _console
    stages: _Stages | None = None
    with contextlib.ExitStack() as shown:

        def on_stage(stage: str, done: int, total: int) -> None:
            nonlocal stages
            if stages is None:  # a search that is answered from the cache has no stage, and shows nothing
                stages = _show_stages(shown)
            stages(stage, done, total)

        try:
            yield on_stage
        finally:
            _console = None


def _show_stages(shown: contextlib.ExitStack) -> _Stages:
    """Start to show stages, until ``shown`` is closed."""
    global _console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    _console = err()
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[counts]}"),
    )
    bars = Progress(*columns, console=_console, transient=True, redirect_stdout=False, redirect_stderr=False)
    stages = _Stages(shown.enter_context(bars))
    shown.enter_context(contextlib.redirect_stderr(cast("TextIO", _Above(stages, _console, sys.stderr))))
    return stages


class _Stages:
    """OnStage: a line for each stage; those of one step are gone when they are done."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._counted: dict[str, TaskID] = {}
        self._one_step: TaskID | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._one_step is not None:
            self._bars.remove_task(self._one_step)
            self._one_step = None
        if total > 1:
            self._count(stage, done, total)
        elif not done:
            self._one_step = self._bars.add_task(visible(stage), total=None, counts="")

    def step(self, text: str) -> None:
        """Show what a library prints of the progress of a step, such as a download, in place of the stage's name."""
        if self._one_step is not None:
            self._bars.update(self._one_step, description=text)

    def _count(self, stage: str, done: int, total: int) -> None:
        if stage not in self._counted:
            self._counted[stage] = self._bars.add_task(visible(stage), total=total, counts="")
        number = self._counted[stage]
        task = next(task for task in self._bars.tasks if task.id == number)
        if done < task.completed:
            self._bars.reset(number, total=total)
        self._bars.update(number, completed=done, total=total)
        filled = _BAR_WIDTH * done // total
        counts = f"[cyan]{'━' * filled}[/][dim]{'━' * (_BAR_WIDTH - filled)}[/] {done}/{total}"
        speed = task.finished_speed or task.speed
        if speed:
            counts += f" {speed:.{0 if speed >= 10 else 1}f}/s"
        if speed and done < total:
            counts += f" {timedelta(seconds=round((total - done) / speed))} left"
        self._bars.update(number, counts=counts)


class _Above:
    """Stderr while the progress is shown, for what libraries print: lines go above it, bars into it."""

    def __init__(self, stages: _Stages, console: Console, stream: TextIO) -> None:
        self._stages = stages
        self._console = console
        self._rest = ""
        self.rich_proxied_file = stream  # where rich writes

    def write(self, text: str) -> int:
        # A bar begins with a carriage return, to overwrite what it was.
        *lines, self._rest = (part.rpartition("\r")[2] for part in (self._rest + text).split("\n"))
        for line in lines:
            self._console.print(_COLOURS.sub("", line), soft_wrap=True)
        if self._rest.strip():
            self._stages.step(self._rest)
        return len(text)

    def flush(self) -> None:
        """Everything is shown already."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def _stage_lines() -> OnStage:
    seen: set[str] = set()

    def on_stage(stage: str, done: int, total: int) -> None:
        if stage not in seen:
            seen.add(stage)
            sys.stderr.write(f"{stage}\n")

    return on_stage


@contextlib.contextmanager
def opened(file: Path) -> Iterator[TextIO]:
    """A file to write a list to. /dev/stdout and the like continue the open stream: opened again, a file that the
    shell redirects to would be overwritten from its start.

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


def report_skipped(skipped: Sequence[Skipped], file: Path | None) -> None:
    """Print how many images were skipped, and write the list to ``file`` (CSV: path, reason) if given."""
    if file is not None:
        with opened(file) as handle:
            writer = csv.writer(handle)
            writer.writerow(SKIPPED_COLUMNS)
            writer.writerows([s.path, s.reason] for s in skipped)
    note_skipped(skipped, f"listed in {file}" if file is not None else "list them with --skipped FILE")


def note_skipped(skipped: Sequence[Skipped], where: str) -> None:
    """Print how many images were skipped, if any, ``where`` all are listed, and the first with its reason."""
    if skipped:
        # A whole folder or archive matters more than a file.
        first = next((one for one in skipped if one.reason.startswith(("folder: ", "archive: "))), skipped[0])
        note(f"{len(skipped)} skipped ({where}); first: {first.path}: {first.reason}")
