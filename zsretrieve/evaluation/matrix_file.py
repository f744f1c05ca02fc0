"""The scores of images with classes as a file: a NumPy array, or Parquet with the images and the classes' names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.evaluation.classify import Classification
from zsretrieve.exchange import parquet
from zsretrieve.system.atomic import OutputKind, replacing

_CLASSES = b"zsretrieve.matrix.classes"
_NPY = b"\x93NUMPY"


def _is_matrix(path: Path) -> bool:
    try:
        if path.suffix == ".npy":
            with open(path, "rb") as file:
                return file.read(len(_NPY)) == _NPY
        return _CLASSES in (parquet.read_table(path, ()).schema.metadata or {})
    except (OSError, SourceError):
        return False


KIND = OutputKind(False, _is_matrix, "matrix of scores")


def check_suffix(out: Path) -> None:
    """Raise UsageError unless the name of a file says its form."""
    if out.suffix not in (".npy", ".parquet"):
        raise UsageError(f"'{out}' does not end in .npy or .parquet", hint="Name the form of the matrix by the suffix.")


def write(out: Path, done: Classification) -> None:
    """Write the scores of a classification, one row per result; an earlier matrix is replaced.

    ``.npy`` is the float32 array of shape (n, n_classes). ``.parquet`` has ``path`` and ``scores``, a list per image,
    and the classes' names in its metadata.

    Raises
    ------
    OutputExistsError
        If something else is there.
    IndexFolderError
        If the system refuses to write.
    """
    assert done.scores is not None
    with replacing(out, KIND, force=True) as part:
        if out.suffix == ".npy":
            with open(part, "wb") as file:
                np.save(file, done.scores)
            return
        flat = pa.array(done.scores.ravel())
        paths = [os.fsencode(one.path).decode("utf-8", "backslashreplace") for one in done.results]
        columns = {"path": paths, "scores": pa.FixedSizeListArray.from_arrays(flat, done.scores.shape[1])}
        table = pa.table(columns).replace_schema_metadata({_CLASSES: json.dumps(done.class_names)})
        pq.write_table(table, part)
