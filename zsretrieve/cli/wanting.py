"""The options of what is wanted of a search."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import typer

from zsretrieve.cli import options
from zsretrieve.cli.groups import OptionGroup
from zsretrieve.domain.settings import DEDUP_SCORE
from zsretrieve.domain.wanted import MINUS, Order

REFINING = "Refining the search"

_refine = functools.partial(typer.Option, rich_help_panel=REFINING)
_rare = functools.partial(typer.Option, rich_help_panel=options.ADVANCED)

_K = Annotated[
    int | None, typer.Option("-k", metavar="N", help="Images per query (default: 10); fewer if there are fewer.")
]
_Dedup = Annotated[
    bool, typer.Option("--dedup", help="Leave out near-duplicates of an earlier hit; still return k images.")
]
_Near = Annotated[
    float | None,
    _rare(
        "--near",
        min=0,
        max=1,
        metavar="SCORE",
        help=f"With --dedup: the score from which two images count as near-duplicates (default: {DEDUP_SCORE}).",
    ),
]
_Literal = Annotated[bool, typer.Option("--literal", help="Treat queries as plain text (no +, -, weights or id:N).")]
_Exif = Annotated[
    bool | None,
    _rare(
        "--exif/--no-exif", help="Turn query images upright by their EXIF orientation (default: as the gallery's were)."
    ),
]
_Minus = Annotated[
    list[str] | None,
    _refine("--minus", metavar="QUERY", help=f"Stay away from this: it is subtracted, times {MINUS}; repeatable."),
]
_More = Annotated[
    list[int] | None, _refine("--more", metavar="ID", help="An image that the hits should be like; repeatable.")
]
_Less = Annotated[
    list[int] | None,
    _refine("--less", metavar="ID", help="An image that they should be unlike, and that is left out; repeatable."),
]
_MinScore = Annotated[float | None, _refine("--min-score", metavar="SCORE", help="Leave out hits below this score.")]
_Order = Annotated[
    Order | None,
    _refine("--order", help="date puts the newest file first, of the hits that match (default: score)."),
]
_Offset = Annotated[
    int | None, _refine("--offset", metavar="N", help="Leave out the first N hits, to show the next page.")
]
_Exact = Annotated[bool, _refine("--exact", help="Compare every image, also where the index is approximate.")]
_Whole = Annotated[bool, _refine("--whole", help="Compare whole images alone, also where the gallery has regions.")]
_Recall = Annotated[
    float | None,
    _refine(
        "--recall",
        metavar="SHARE",
        help="The share of the best that an approximate index should find, e.g. 0.9 (needs index tune).",
    ),
]
_Explain = Annotated[bool, _refine("--explain", help="Show the score of each term, and the next hits below the cut.")]
# Switches and lists that were not given; of the others that is None.
_NOT_GIVEN: dict[str, Any] = {
    "dedup": False,
    "literal": False,
    "explain": False,
    "exact": False,
    "whole": False,
    "minus": [],
    "more": [],
    "less": [],
}


def _given(**values: Any) -> dict[str, Any]:
    """What was asked for; what was left out stays as usual, or as it was saved."""
    return {name: one for name, one in values.items() if one is not None and one != _NOT_GIVEN.get(name)}


# The fields of ``zsretrieve.Wanted`` that were given.
Given = Annotated[
    dict[str, Any],
    OptionGroup(
        _given,
        {
            "k": (_K, None),
            "where": (options.Where, None),
            "dedup": (_Dedup, False),
            "literal": (_Literal, False),
            "minus": (_Minus, None),
            "more": (_More, None),
            "less": (_Less, None),
            "min_score": (_MinScore, None),
            "order": (_Order, None),
            "offset": (_Offset, None),
            "explain": (_Explain, False),
            "exact": (_Exact, False),
            "recall": (_Recall, None),
            "whole": (_Whole, False),
            "near": (_Near, None),
            "exif": (_Exif, None),
        },
    ),
]
