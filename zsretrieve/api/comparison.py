"""Comparison of two runs, or of two sets of prototypes on a gallery."""

from __future__ import annotations

from zsretrieve.api.evaluation import open_run
from zsretrieve.api.indexes import is_index, open_gallery, open_prototypes
from zsretrieve.domain.comparison import ClassSetComparison, Comparison
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.results import Run
from zsretrieve.evaluation import class_sets as _class_sets
from zsretrieve.evaluation import report as _report
from zsretrieve.evaluation.paired import compare_runs
from zsretrieve.evaluation.run import run_of
from zsretrieve.store.indexes import Gallery, Prototypes


def compare(
    first: Run | Prototypes | PathLike,
    second: Run | Prototypes | PathLike,
    *,
    on: Gallery | PathLike | None = None,
    where: str | None = None,
    device: str = "auto",
    half: bool = False,
) -> Comparison:
    """Two runs on the same images: the difference of their Prec@1 with a paired interval, and where it is.

    Parameters
    ----------
    first, second : Run, Prototypes or path
        Saved runs, or prototype indexes that are scored on the gallery ``on``.
    on : Gallery or path, optional
    where : str, optional
        Only the images of ``on`` that pass a filter, see ``zsretrieve.domain.filters``.
    device, half
        See ``open_prototypes``, for what is opened here.

    Raises
    ------
    UsageError
        If a device is given and nothing is scored.
    SourceError
        If there are prototypes and no gallery, or a gallery and no prototypes; or no image in common.
    ClassMappingError
        If the two have different classes, or their labels differ.
    SpaceMismatchError, FilterError
        See ``zsretrieve.evaluation.report``.
    """
    if on is None and (device != "auto" or half):
        raise UsageError(
            f"{'a copy in float16' if half else '`device`'} has no effect: saved runs have their predictions already",
            hint="Leave it out, or compare prototypes on a gallery as `on`.",
        )
    sides = [
        open_prototypes(side, device=device, half=half)
        if not isinstance(side, Run | Prototypes) and is_index(side)
        else side
        for side in (first, second)
    ]
    any_index = any(isinstance(side, Prototypes) for side in sides)
    if any_index and on is None:
        raise SourceError("prototypes are compared on a gallery, and none is given", hint="Give one as `on`.")
    if not any_index and (on is not None or where is not None):
        raise SourceError("both are saved runs, whose images are scored already", hint="Leave `on` and `where` out.")
    gallery = on if on is None or isinstance(on, Gallery) else open_gallery(on, device=device, half=half)
    runs = []
    for side in sides:
        if isinstance(side, Prototypes):
            assert gallery is not None
            labelled = _report.take_labelled(gallery, side, where=where)
            runs.append(run_of(labelled, side, min(2, len(side.index))))
        else:
            runs.append(side if isinstance(side, Run) else open_run(side))
    return compare_runs(*runs)


def compare_class_sets(
    first: Prototypes | PathLike,
    second: Prototypes | PathLike,
    on: Gallery | PathLike,
    by: str,
    *,
    where: str | None = None,
    device: str = "auto",
    half: bool = False,
) -> ClassSetComparison:
    """Whether the classes that only the second set has draw the images of some groups more than of others.

    Parameters
    ----------
    first, second : Prototypes or path
    on : Gallery or path
    by : str
        The column of the gallery whose values are the groups: ``label``, ``folder`` or another of those of filters.
    where : str, optional
        Only the images of ``on`` that pass a filter, see ``zsretrieve.domain.filters``.
    device, half
        See ``open_prototypes``, for what is opened here.

    Raises
    ------
    ClassMappingError, SpaceMismatchError, SourceError, FilterError
        See ``zsretrieve.evaluation.class_sets``.
    """
    gallery = on if isinstance(on, Gallery) else open_gallery(on, device=device, half=half)
    before, after = (
        side if isinstance(side, Prototypes) else open_prototypes(side, device=device, half=half)
        for side in (first, second)
    )
    return _class_sets.compare_class_sets(before, after, gallery, by, where=where)
