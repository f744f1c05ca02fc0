"""The options of prediction sets and of propagation, which ``classify`` and ``evaluate`` share."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from zsretrieve.cli.groups import OptionGroup
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.prediction_sets import Coverage
from zsretrieve.domain.propagation import Propagation


class Measure(StrEnum):
    LAC = "lac"
    APS = "aps"


_sets = functools.partial(typer.Option, rich_help_panel="Prediction sets")
_spreading = functools.partial(typer.Option, rich_help_panel="Propagation")

_Wanted = Annotated[
    float | None,
    _sets(
        "--coverage",
        min=0,
        max=1,
        metavar="SHARE",
        help="Answer with a set of classes that holds the true one of this fraction of the images, such as 0.9.",
    ),
]
_By = Annotated[
    Measure | None,
    _sets(
        "--sets-by",
        metavar="MEASURE",
        show_default="lac",
        help="lac for the smallest sets on average, or aps for larger ones where the model is less certain.",
    ),
]
_Seed = Annotated[
    int | None,
    _sets("--seed", min=0, show_default="0", help="Draws the half of the images that calibrates the sets."),
]
Calibrate = Annotated[
    Path | None,
    _sets(
        "--calibrate",
        metavar="GALLERY",
        help="With --coverage: a labelled gallery of images like these, which the prototypes were not made from.",
    ),
]


def _coverage(*, coverage: float | None, sets_by: Measure | None, sets_seed: int | None = None) -> Coverage | None:
    if coverage is None:
        for option, value in (("--sets-by", sets_by), ("--seed", sets_seed)):
            if value is not None:
                raise UsageError(f"{option} has no effect without --coverage", hint="Add --coverage 0.9.")
        return None
    return Coverage(coverage, (sets_by or Measure.LAC).value, sets_seed or 0)


COVERAGE = OptionGroup(_coverage, {"coverage": (_Wanted, None), "sets_by": (_By, None), "sets_seed": (_Seed, None)})

_Propagate = Annotated[
    bool,
    _spreading("--propagate", help="Spread the classes of text prototypes over the images of a gallery (ZLaP)."),
]
_Neighbours = Annotated[
    int | None,
    _spreading(
        "--neighbours",
        min=1,
        metavar="N",
        show_default="5",
        help="The nearest images of each image, and the nearest classes, that it is joined to.",
    ),
]
_Gamma = Annotated[
    float | None,
    _spreading(
        "--gamma",
        min=0,
        max=100,
        metavar="NUMBER",
        show_default="5",
        help="Power of the similarities of images and texts: higher values reduce the influence of distant classes.",
    ),
]
_Alpha = Annotated[
    float | None,
    _spreading(
        "--alpha",
        min=0,
        max=0.999,
        metavar="NUMBER",
        show_default="0.3",
        help="Share of a class's score that is passed to each neighbour.",
    ),
]
_Sparse = Annotated[
    bool,
    _spreading("--sparse", help="With --graph, keep only the best class of its images: less memory, coarser answers."),
]
Graph = Annotated[
    Path | None,
    _spreading(
        "--graph",
        metavar="GALLERY",
        show_default="SOURCE itself",
        help="With --propagate: the gallery over which the classes spread to the images of SOURCE.",
    ),
]


def _propagation(*, propagate: bool, sparse: bool, **numbers: Any) -> Propagation | None:
    given = {name: number for name, number in numbers.items() if number is not None}
    if not propagate:
        for name in (*given, *(["sparse"] if sparse else [])):
            raise UsageError(f"--{name} has no effect without --propagate", hint="Add --propagate.")
        return None
    return Propagation(**given, sparse=sparse)


PROPAGATION = OptionGroup(
    _propagation,
    {
        "propagate": (_Propagate, False),
        "neighbours": (_Neighbours, None),
        "gamma": (_Gamma, None),
        "alpha": (_Alpha, None),
        "sparse": (_Sparse, False),
    },
)
