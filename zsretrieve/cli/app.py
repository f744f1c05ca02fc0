"""The Typer application and its entry point."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import traceback
import warnings
from typing import Annotated, NoReturn

import typer

from zsretrieve.cli.lazy import Group, Later
from zsretrieve.cli.output import Notes, print_error, set_quiet
from zsretrieve.domain.errors import ArgumentError, UsageError, ZsRetrieveError

_QUIET, _VERBOSE = frozenset({"-q", "--quiet"}), frozenset({"-v", "--verbose"})


class _Commands(Group):
    later = (
        Later("demo", "demo:demo"),
        Later("index", "index:app"),
        Later("search", "search:search"),
        Later("look", "look:look"),
        Later("serve", "serve:serve"),
        Later("mcp", "mcp:mcp"),
        Later("classify", "classify:classify"),
        Later("detect", "detect:detect"),
        Later("evaluate", "evaluate:evaluate"),
        Later("compare", "compare:compare"),
        Later("prompts", "prompts:app"),
        Later("fewshot", "learning_curve:app"),
        Later("probe", "probe:probe"),
        Later("train", "train:train"),
        Later("models", "models:app"),
        Later("reproduce", "reproduce:app"),
        Later("doctor", "doctor:doctor"),
    )


app = typer.Typer(
    name="zsretrieve",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Zero-shot classification and image search as vector retrieval.\n\n"
    "Index images once, then search them by text or image, classify them without training, and measure the accuracy."
    "\n\nExample: zsretrieve demo",
)


def _version(wanted: bool) -> None:
    if wanted:
        from zsretrieve.system.version import tool_version

        typer.echo(f"zsretrieve {tool_version()}")
        raise typer.Exit


@app.callback()
def root(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Verbose output, with tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    set_quiet(quiet)


def main() -> NoReturn:
    """Run the command line; Ctrl-C becomes an error at any moment, where Python would print a traceback."""
    _open_closed_streams()
    at_start = signal.getsignal(signal.SIGINT)
    try:
        if callable(at_start):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _run()
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, at_start)


def _run() -> NoReturn:
    """Errors of the library become ``error:`` and ``hint:`` on stderr and exit code 1; wrong usage is 2."""
    words = _globals_first(sys.argv[1:])
    verbose = not _VERBOSE.isdisjoint(words)
    # Other libraries log to the root logger; zsretrieve's own notes are set up by set_quiet.
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, handlers=[Notes()])
    set_quiet(not _QUIET.isdisjoint(words))
    if not verbose:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty() or not _QUIET.isdisjoint(words):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    # Pillow warns of odd but readable files; unreadable ones are reported as skipped.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants it ignored
            signal.signal(number, _terminated)
    try:
        app(words)
    except ZsRetrieveError as error:
        if verbose:
            traceback.print_exc()
        # The hint of such an error is for Python.
        hint = "See the command's --help." if isinstance(error, ArgumentError) else error.hint
        print_error(error.message, hint)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except SystemExit as exit_:
        if exit_.code == 130:
            print_error("interrupted")
        raise
    except OSError as error:
        if verbose:
            traceback.print_exc()
        where = f"'{error.filename}': " if error.filename else ""
        print_error(f"{where}{error.strerror or error}", "Check the path, the permissions and the free space.")
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  (a bug must not look like a mistake of the user)
        if verbose:
            traceback.print_exc()
        print_error(f"unexpected {type(error).__name__}: {error}", "This is a bug; run with -v for the traceback.")
        sys.exit(1)
    sys.exit(0)


def _open_closed_streams() -> None:
    """Streams that the caller closed (``>&-``) are None; what is printed there is lost, and no reason to fail."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _globals_first(words: list[str]) -> list[str]:
    """``--quiet`` and ``--verbose`` are options of the program, wherever they stand before a ``--``.

    After a command with an option -q of its own, -q is not short for ``--quiet``.
    """
    before = list(itertools.takewhile(lambda word: word != "--", words))
    rest = words[len(before) :]
    command = next((place for place, word in enumerate(before) if not word.startswith("-")), len(before))
    has_own = before[command : command + 1] == ["search"]
    moved: list[str] = []
    stay: list[str] = []
    for place, word in enumerate(before):
        for part in ("-q", "-v") if word in ("-qv", "-vq") else (word,):
            is_global = part in _QUIET | _VERBOSE and not (has_own and part == "-q" and place > command)
            (moved if is_global else stay).append(part)
    return [*moved, *stay, *rest]


def _terminated(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
