"""Runs on disk, and two of them side by side."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.api.opening import PathLike, is_index, open_gallery, open_prototypes
from zsretrieve.errors import SourceError
from zsretrieve.exchange import output, runs, tables
from zsretrieve.results import Comparison, EvalReport, Run
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.verbs.compare import compare_runs
from zsretrieve.verbs.evaluate import take_labelled
from zsretrieve.verbs.scoring import run_of


def save_run(run: Run, out: PathLike, *, force: bool = False) -> None:
    """Write a run as one Parquet file. Raises OutputExistsError and IndexFolderError as ``check_run_output`` tells."""
    runs.write(Path(out), run, force=force)


def open_run(path: PathLike) -> Run:
    """Read a run that was saved. Raises SourceError if it is none."""
    return runs.read(Path(path))


def check_run_output(out: PathLike, *, force: bool = False) -> None:
    """Raise OutputExistsError, before the work, if ``save_run`` would: what is no run is never replaced."""
    output.check_output(Path(out), runs.KIND, force=force)


def save_tables(run: Run, report: EvalReport, out: PathLike, *, force: bool = False) -> None:
    """Write what was found as a folder of CSV files. Raises OutputExistsError and IndexFolderError."""
    tables.write(Path(out), run, report, force=force)


def check_tables_output(out: PathLike, *, force: bool = False) -> None:
    """Raise OutputExistsError, before the work, if ``save_tables`` would: no other folder is ever replaced."""
    output.check_output(Path(out), tables.KIND, force=force)


def compare(
    first: Run | Prototypes | PathLike,
    second: Run | Prototypes | PathLike,
    *,
    on: Gallery | PathLike | None = None,
    where: str | None = None,
    device: str = "auto",
    half: bool = False,
) -> Comparison:
    """Two runs on the same images: the difference of their Prec@1 with a paired interval, and where it lies.

    Parameters
    ----------
    first, second : Run, Prototypes or path
        Saved runs, or prototype indexes that are scored on the gallery ``on``.
    on : Gallery or path, optional
    where : str, optional
        Keep to the images of ``on`` that pass a filter, see ``zsretrieve.filters``.
    device, half
        See ``open_prototypes``, for what is opened here.

    Raises
    ------
    SourceError
        If there are prototypes and no gallery, or a gallery and no prototypes; or no image in common.
    ClassMappingError
        If the two are of different classes, or their labels differ.
    SpaceMismatchError, FilterError
        See ``zsretrieve.verbs.evaluate``.
    """
    sides = [
        open_prototypes(side, device=device, half=half)
        if not isinstance(side, Run | Prototypes) and is_index(side)
        else side
        for side in (first, second)
    ]
    indexes = sum(isinstance(side, Prototypes) for side in sides)
    if indexes and on is None:
        raise SourceError("prototypes are compared on a gallery, and none is given", hint="Give one with --on GALLERY.")
    if not indexes and (on is not None or where is not None):
        raise SourceError("both are saved runs, whose images are scored already", hint="Leave --on and --where out.")
    gallery = on if on is None or isinstance(on, Gallery) else open_gallery(on, device=device, half=half)
    found = []
    for side in sides:
        if isinstance(side, Prototypes):
            assert gallery is not None
            found.append(run_of(take_labelled(gallery, side, where=where), side, min(2, len(side.index))))
        else:
            found.append(side if isinstance(side, Run) else open_run(side))
    return compare_runs(*found)
