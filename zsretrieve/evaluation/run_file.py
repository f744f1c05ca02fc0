"""Runs as Parquet files: the predictions for every image of an evaluation, to be compared with another run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.results import Run
from zsretrieve.domain.wording import one_line
from zsretrieve.exchange import parquet
from zsretrieve.system.atomic import OutputKind, replacing
from zsretrieve.system.version import tool_version

RUN = b"zsretrieve.run"
FORMAT_VERSION = 1

_COLUMNS = ("path", "digest", "truth", "predicted", "score", "probability")
_HINT = "Save it again with: zsretrieve evaluate ... --save RUN"


def is_run(path: Path) -> bool:
    """Whether a file is Parquet that ``write`` has written."""
    try:
        return RUN in (parquet.read_table(path, ()).schema.metadata or {})
    except SourceError:
        return False


KIND = OutputKind(False, is_run, "run")


def write(out: Path, run: Run, *, force: bool = False) -> None:
    """Write a run to a file, beside its place first.

    Raises
    ------
    OutputExistsError
        If something is there, unless it is a run and ``force`` is given.
    IndexFolderError
        If the system refuses to write.
    """
    # Class names may contain bytes that are not UTF-8: exact in the metadata, readable in the column.
    names = pa.array([name.encode("utf-8", "backslashreplace").decode() for name in run.class_names])
    truth = pa.array(run.truth.astype(np.int32))
    columns = {
        "path": pa.array([os.fsencode(path) for path in run.paths], type=pa.binary()),
        "digest": pa.array(run.digests, type=pa.string()),
        "truth": truth,
        "truth_name": names.take(truth),
        "predicted": _lists(run.ranked.astype(np.int32)),
        "score": _lists(run.scores),
        "probability": _lists(run.probabilities),
        "margin": pa.array(run.margins),
    }
    content = {
        "format_version": FORMAT_VERSION,
        "tool_version": tool_version(),
        "model": run.model,
        "templates": run.templates,
        "class_names": run.class_names,
        "class_keys": run.class_keys,
    }
    table = pa.table(columns).replace_schema_metadata({RUN: json.dumps(content).encode("ascii")})
    with replacing(out, KIND, force=force) as beside:
        pq.write_table(table, beside, compression="zstd", use_dictionary=["truth_name"])


def read(path: Path) -> Run:
    """Read a run that ``write`` wrote. Raises SourceError if it is not a run, damaged, or of a newer version."""
    table = parquet.read_table(path, _COLUMNS)
    raw = (table.schema.metadata or {}).get(RUN)
    if raw is None:
        raise SourceError(f"'{path}' is not a saved run", hint=_HINT)
    try:
        content = json.loads(raw)
        version = int(content["format_version"])
        if version > FORMAT_VERSION:
            raise SourceError(
                f"the run '{path}' has version {version}; this program reads up to {FORMAT_VERSION}",
                hint="Use a newer zsretrieve.",
            )
        run = Run(
            paths=tuple(map(os.fsdecode, table.column("path").to_pylist())),
            digests=tuple(map(str, table.column("digest").to_pylist())),
            truth=_numbers(table.column("truth").combine_chunks(), np.dtype(np.int64)),
            ranked=_matrix(table.column("predicted"), np.dtype(np.int64)),
            scores=_matrix(table.column("score"), np.dtype(np.float32)),
            probabilities=_matrix(table.column("probability"), np.dtype(np.float64)),
            class_names=tuple(map(str, content["class_names"])),
            class_keys=tuple(None if key is None else str(key) for key in content["class_keys"]),
            model=str(content["model"]),
            templates=str(content["templates"]),
        )
        _check(run)
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise SourceError(f"the run '{path}' is damaged: {one_line(error)}", hint=_HINT) from error
    return run


def _check(run: Run) -> None:
    """Raise ValueError unless the parts of a run fit together."""
    n, n_classes = len(run.paths), len(run.class_names)
    shapes = {run.ranked.shape, run.scores.shape, run.probabilities.shape}
    if not n or len(shapes) > 1 or run.ranked.shape[0] != n or len(run.truth) != n or len(run.digests) != n:
        raise ValueError("its columns have different lengths")
    if len(run.class_keys) != n_classes:
        raise ValueError("it has more class names than keys, or fewer")
    for ids in (run.truth, run.ranked):
        if ids.min() < 0 or ids.max() >= n_classes:
            raise ValueError(f"it refers to a class beyond its {n_classes}")


def _lists(matrix: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _numbers(column: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    if column.null_count:
        raise ValueError("a number is missing")
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False), dtype=dtype)


def _matrix(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Lists of equal length as a matrix. Raises ValueError if they differ."""
    lengths = set(pc.list_value_length(column).to_pylist())
    if len(lengths) != 1 or not (width := lengths.pop()):
        raise ValueError("its lists have different lengths")
    flat = pc.list_flatten(column)
    if isinstance(flat, pa.ChunkedArray):
        flat = flat.combine_chunks()
    return _numbers(flat, dtype).reshape(-1, width)
