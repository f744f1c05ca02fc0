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

from zsretrieve.cli.later import Group, Later
from zsretrieve.cli.output import Notes, Verbosity, err
from zsretrieve.errors import ZsRetrieveError

_QUIET, _VERBOSE = frozenset({"-q", "--quiet"}), frozenset({"-v", "--verbose"})


class _Commands(Group):
    later = (
        Later(
            "demo", "demo:demo",
            "Do the whole main job on the bundled model and generated scenes, offline, in under a minute.",
        ),
        Later(
            "classify", "classify:classify",
            "Classify images without training: the nearest class prototypes of each.",
        ),
        Later(
            "search", "search:search",
            "Search a gallery with words, pictures or both. Several queries are answered one after the other.",
        ),
        Later(
            "evaluate", "evaluate:evaluate",
            "Report Prec@1, Prec@5 and mean per-class recall of zero-shot classification.",
        ),
        Later("reproduce", "reproduce:app", "Run the published tables on your images, and say why a figure is missed."),
        Later(
            "compare", "compare:compare",
            "Compare two evaluations on the same images: the difference of Prec@1, and where it lies.",
        ),
        Later(
            "probe", "few_shot:probe",
            "Train a linear probe on labelled images: an index that classify and evaluate open like any other.",
        ),
        Later(
            "doctor", "doctor:doctor",
            "Tell what this machine can do and what is wrong with it, each with the command that mends it.",
        ),
        Later("index", "index:app", "Build, keep, check and mend indexes."),
        Later("fewshot", "few_shot:app", "See what a few labelled images of each class are worth."),
        Later("models", "models:app", "Find models, see what they are, convert them for the CPU."),
        Later(
            "prompts", "prompts:app",
            "See the bundled class names and templates, and measure templates on labelled images.",
        ),
    )  # fmt: skip


app = typer.Typer(
    name="zsretrieve",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Zero-shot classification and image search as vector retrieval.\n\n"
    "Build indexes of class prototypes and of images, classify a folder, search with words, pictures or both, "
    "and report Prec@1.\n\nStart with: zsretrieve demo",
)


def _version(wanted: bool) -> None:
    if wanted:
        from zsretrieve.version import tool_version

        typer.echo(f"zsretrieve {tool_version()}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show where an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Verbosity(quiet)


def main() -> NoReturn:
    """Run the command line; errors of the library become ``error:`` and ``hint:`` on stderr and exit code 1."""
    words = _globals_first(sys.argv[1:])
    verbose = not _VERBOSE.isdisjoint(words)
    # Libraries log their own view of things to the root logger; ours is told below.
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)
    _listen(quiet=not _QUIET.isdisjoint(words))
    if not verbose:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty() or not _QUIET.isdisjoint(words):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    # Pillow remarks on odd but readable files; what cannot be read is reported as skipped.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants it ignored
            signal.signal(number, _terminated)
    try:
        app(words)
    except ZsRetrieveError as error:
        if verbose:
            traceback.print_exc()
        _tell(error.message, error.hint)
        sys.exit(1)
    except SystemExit as exit_:
        if exit_.code == 130:
            _tell("interrupted", None)
        raise
    except OSError as error:
        if verbose:
            traceback.print_exc()
        where = f"'{error.filename}': " if error.filename else ""
        _tell(f"{where}{error.strerror or error}", "Check the path, the permissions and the free space.")
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  (a defect must not look like a user's mistake, nor spill a traceback)
        if verbose:
            traceback.print_exc()
        _tell(f"unexpected {type(error).__name__}: {error}", "This is a defect; run with -v to see where it arose.")
        sys.exit(1)
    sys.exit(0)


def _listen(*, quiet: bool) -> None:
    """What the library itself has to say goes to people, unless they asked for quiet."""
    ours = logging.getLogger("zsretrieve")
    ours.propagate = False
    ours.setLevel(logging.CRITICAL if quiet else logging.INFO)
    ours.addHandler(Notes())


def _globals_first(words: list[str]) -> list[str]:
    """``--quiet`` and ``--verbose`` are the whole program's, wherever they are written before a ``--``."""
    before = list(itertools.takewhile(lambda word: word != "--", words))
    before = [part for word in before for part in (("-q", "-v") if word in ("-qv", "-vq") else (word,))]
    moved = [word for word in before if word in _QUIET | _VERBOSE]
    return [
        *moved,
        *(word for word in before if word not in moved),
        *itertools.dropwhile(lambda word: word != "--", words),
    ]


def _terminated(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _tell(message: str, hint: str | None) -> None:
    console = err()
    console.print(f"error: {' '.join(message.split())}", markup=False, style="red" if console.is_terminal else None)
    if hint:
        console.print(f"hint: {' '.join(hint.split())}", markup=False)
