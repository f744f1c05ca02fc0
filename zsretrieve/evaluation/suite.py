"""Several labelled data sets in one table: Prec@1 of each, the drop against the first, and the macro average."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.plain import Result, plain
from zsretrieve.domain.results import Interval, Run
from zsretrieve.domain.text_files import read_text
from zsretrieve.domain.wording import one_line
from zsretrieve.metrics import wilson

_FORM = "See docs/evaluation.md for the form."
_KEYS = {"name", "source", "prototypes", "ground_truth"}


@dataclass(frozen=True)
class DataSet:
    """A labelled data set of a suite, and the prototypes to score it with. Paths are as they are opened."""

    name: str
    source: str
    prototypes: str
    ground_truth: str | None = None


@dataclass(frozen=True)
class SuiteRow(Result):
    """Prec@1 on one data set; ``drop`` is how much less that is than on the first one, a fraction."""

    _keys: ClassVar = {"prec_at_1": "prec@1"}

    name: str
    prec_at_1: float
    interval: Interval
    n_correct: int
    n_scored: int
    drop: float


@dataclass(frozen=True)
class Suite:
    """The rows in the order of the file; ``macro_average`` counts every data set equally, whatever its size."""

    model: str
    rows: tuple[SuiteRow, ...]

    @property
    def macro_average(self) -> float:
        return sum(row.prec_at_1 for row in self.rows) / len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The suite as ``--format json`` prints it."""
        return {"model": self.model, "macro_average": self.macro_average, "rows": plain(self.rows)}


def read_suite(path: Path) -> tuple[DataSet, ...]:
    """The data sets of a suite's TOML file; relative paths in it are relative to its folder.

    Raises
    ------
    SourceError
        If it cannot be read, or a data set lacks a name, a source or prototypes.
    """
    try:
        content = tomllib.loads(read_text(path, SourceError))
    except ValueError as error:
        raise SourceError(f"the suite '{path}' cannot be read: {one_line(error)}", hint=_FORM) from error
    entries = content.get("datasets")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"the suite '{path}' has no [[datasets]]", hint=_FORM)
    common = {key: content[key] for key in ("prototypes",) if key in content}
    sets = tuple(_data_set(path, number, common | entry) for number, entry in enumerate(entries, start=1))
    names = [one.name for one in sets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SourceError(f"the suite '{path}' has the data set '{twice}' twice", hint="Give each its own name.")
    return sets


def suite_of(names: Sequence[str], runs: Sequence[Run]) -> Suite:
    """The table of the runs of a suite, one for each data set."""
    counts = [(int(run.correct.sum()), len(run.truth)) for run in runs]
    first = counts[0][0] / counts[0][1]
    rows = tuple(
        SuiteRow(name, correct / n, wilson(correct, n), correct, n, first - correct / n)
        for name, (correct, n) in zip(names, counts, strict=True)
    )
    return Suite(", ".join(dict.fromkeys(run.model for run in runs)), rows)


def _data_set(path: Path, number: int, entry: dict[str, Any]) -> DataSet:
    unknown = entry.keys() - _KEYS
    missing = [key for key in ("name", "source", "prototypes") if key not in entry]
    if unknown or missing or not all(isinstance(value, str) and value for value in entry.values()):
        what = f"'{min(unknown)}' is unknown" if unknown else f"no {missing[0]}" if missing else "not all are strings"
        raise SourceError(f"data set {number} of the suite '{path}': {what}", hint=_FORM)

    def place(written: str) -> str:
        # hf:DATASET:SPLIT, URLs and the names of indexes are no paths; a list of files is one.
        if written.startswith("@"):
            listed = path.parent / written[1:]
            return f"@{listed}" if listed.is_file() else written
        return written if ":" in written else str(path.parent / Path(written).expanduser())

    truth = entry.get("ground_truth")
    return DataSet(entry["name"], place(entry["source"]), place(entry["prototypes"]), truth and place(truth))
