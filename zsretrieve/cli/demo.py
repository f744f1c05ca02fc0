"""``zsretrieve demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.demo.story import Story

_SHOWN_HITS = 5


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Folder for scenes, indexes and the report.")] = Path(
        "indexes/demo"
    ),
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Do the whole main job on the bundled model and generated scenes, offline, in under a minute.

    Builds a gallery and prototypes, classifies, searches by words and by picture, reports Prec@1 for compositions
    the model never saw, and writes report.html.

    Example: zsretrieve demo
    """
    verbosity = options.verbosity(context)
    with output.stages(verbosity) as on_stage:
        from zsretrieve.demo import report, story

        told = story.run(out, on_stage)
        report.write_report(told)
    if form is ReportFormat.JSON:
        output.write_json(told.figures())
    else:
        _show(told)


def _show(told: Story) -> None:
    from zsretrieve.demo.story import TEMPLATES

    prec = output.table("templates", "seen", "", "unseen", "", right=("seen", "unseen"))
    for name, groups in told.reports.items():
        cells = []
        for report in groups.values():
            cells += [output.percent(report.prec_at_1), f"{report.n_correct} / {report.n_scored}"]
        prec.add_row(TEMPLATES[name], *cells)
    output.show(prec, "Zero-shot Prec@1 among 120 classes; 24 colour-shape compositions were never seen in training")
    classified = output.table("scene", "nearest classes (probability)")
    for row in told.classified:
        best = ", ".join(f"{p.class_name} {output.percent(p.probability)}" for p in row.predictions)
        classified.add_row(output.cell(_short(row.path)), output.cell(best))
    output.show(classified, "Classified with the ensemble")
    searches = {f'"{query}"': hits for query, hits in told.text_hits.items()}
    searches[_short(told.image_query)] = told.image_hits
    for query, hits in searches.items():
        found = output.table("score", "found", "shows", right=("score",))
        for hit in hits[:_SHOWN_HITS]:
            path = _short(hit.path)
            found.add_row(f"{hit.score:.3f}", output.cell(path), told.scenes[path].caption)
        output.show(found, f"Search: {query}")
    console = output.out()
    console.print(f"Text-to-image R-precision over all classes: {output.percent(told.r_precision)}")
    console.print(f"Report with pictures: {told.report_path}\n\nTry next:", soft_wrap=True, markup=False)
    for command in told.next_commands():
        console.print(f"  {command}", markup=False, soft_wrap=True)


def _short(path: str) -> str:
    """The path within the scenes' folder."""
    return path.rsplit("/scenes/", 1)[-1]
