"""``zsretrieve index kind`` and ``tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.commands.gallery import Gallery
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.output import ReportFormat
from zsretrieve.domain.kinds import QueryKind
from zsretrieve.domain.tuning import LEAST_QUERIES, QUERIES, RECALL
from zsretrieve.domain.wanted import DEFAULT_K

if TYPE_CHECKING:
    from zsretrieve.domain.tuning import Tuned


def kind(
    gallery: Gallery,
    name: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="Flat (exact), auto (by the number of images), or a FAISS factory string, e.g. HNSW32."
        ),
    ],
    memory: options.IndexMemory = None,
    recall: Annotated[
        float | None,
        typer.Option(
            "--recall",
            metavar="SHARE",
            help="With auto: the share of the ten best images to find, for texts and for images (default: 0.95).",
        ),
    ] = None,
) -> None:
    """Give a gallery another index kind: exact, or an approximate one that searches large galleries faster.

    The vectors stay, so nothing is encoded, and any kind can be undone with Flat. With the same kind
    again, the index is made again. auto chooses by the number of images, --memory, --recall and the GPU.

    Example: zsretrieve index kind indexes/pictures IVF1024,PQ128x4fsr
    """
    import zsretrieve as zs

    with output.progress() as on_stage:
        manifest = zs.set_index_kind(gallery, name, memory=memory, recall=recall, on_stage=on_stage)
    made = manifest.approximate
    effect = "every search is exact" if made is None else "searches may miss a few images, unless --exact is given"
    output.note(f"{gallery}: {manifest.factory}; {effect}")


@grouped
def tune(
    gallery: Gallery,
    compute: options.ComputeTexts,
    recall: Annotated[
        float,
        typer.Option(
            "--recall", metavar="SHARE", help="The share of the best k images to find, for texts and for images."
        ),
    ] = RECALL,
    k: Annotated[int, typer.Option("-k", "--k", metavar="N", help="How many of the best count.")] = DEFAULT_K,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts",
            metavar="FILE",
            help="Texts like those to search for: one per line, a prototype index, or vectors of texts (.npy). "
            "By default 3,000 bundled captions.",
        ),
    ] = None,
    queries: Annotated[
        int,
        typer.Option(
            "--queries", metavar="N", help=f"Texts and images to measure with, at least {LEAST_QUERIES} each."
        ),
    ] = QUERIES,
    model: options.ModelOfIndex = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Measure how much an approximate index finds, and keep the cheapest settings that find enough.

    Texts are measured as well as images, since they are harder to search with; what the settings find is stated for
    each. Searches use them from then on, and search --recall takes others. If none finds enough, nothing is kept.

    Example: zsretrieve index tune indexes/pictures --recall 0.95
    """
    import zsretrieve as zs

    with output.progress() as on_stage:
        loaded = zs.Model(model, compute, on_stage=on_stage)
        tuned = zs.tune_index(gallery, recall, k=k, texts=texts, n_queries=queries, model=loaded, on_stage=on_stage)
    if form is ReportFormat.JSON:
        output.write_json(tuned.to_dict())
        return
    _show(tuned)
    setting = tuned.tuning.setting(tuned.chosen)
    assert setting is not None
    for kind in QueryKind:
        found = setting.of(kind)
        low, high = found.interval.low, found.interval.high
        output.say(
            f"{kind} find {found.mean:.3f} of the {k} best (95 % interval {low:.3f} to {high:.3f}, "
            f"one in twenty {found.p5:.2f} or less, {found.n:,} queries)"
        )
    output.note(f"{gallery}: every search uses the marked setting now; --recall takes the cheapest for another recall")


def _show(tuned: Tuned) -> None:
    """The settings that were tried, with a mark at the one that was chosen."""
    table = output.table(
        "", "candidates", "lists", "ef", "texts", "images", "ms", right=("candidates", "lists", "ef", "ms")
    )
    for one in tuned.tried:
        effort = one.effort
        numbers = ("" if number is None else f"{number:,}" for number in (effort.depth, effort.probes, effort.ef))
        mark = ">" if effort == tuned.chosen else ""
        table.add_row(mark, *numbers, f"{one.texts:.3f}", f"{one.images:.3f}", f"{one.ms:.2f}")
    output.show(table, f"{tuned.kind}: recall among the {tuned.tuning.k} best")
