"""``zsretrieve demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.demo.story import Story

_SHOWN_HITS = 5


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for the scenes, the indexes and the report.")
    ] = Path("indexes/demo"),
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Run an offline end-to-end demo on the bundled model and generated images, in under a minute.

    Builds a gallery and prototype indexes, classifies, searches by text and by image, reports Prec@1 for compositions
    that the model never saw, and writes report.html.

    Example: zsretrieve demo
    """
    with output.progress(lines=True) as on_stage:
        from zsretrieve.demo import report, story

        outcome = story.run(out, on_stage)
        report.write_report(outcome)
    if form is ReportFormat.JSON:
        output.write_json(outcome.figures())
    else:
        _show(outcome)


def _show(story: Story) -> None:
    from zsretrieve.demo.story import TEMPLATES

    accuracy = output.table("templates", "seen", "", "unseen", "", right=("seen", "unseen"))
    for name, groups in story.reports.items():
        cells = []
        for report in groups.values():
            cells += [output.percent(report.prec_at_1), f"{report.n_correct} / {report.n_scored}"]
        accuracy.add_row(TEMPLATES[name], *cells)
    output.show(accuracy, "Zero-shot Prec@1 among 120 classes; 24 colour-shape compositions were not trained on")
    classified = output.table("scene", "nearest classes (probability)")
    for row in story.classified:
        best = ", ".join(f"{p.class_name} {output.percent(p.probability)}" for p in row.predictions)
        classified.add_row(output.cell(_short(row.path)), output.cell(best))
    output.show(classified, "Classified with the ensemble")
    searches = {f'"{query}"': hits for query, hits in story.text_hits.items()}
    searches[_short(story.image_query)] = story.image_hits
    for query, hits in searches.items():
        ranking = output.table("score", "image", "shows", right=("score",))
        for hit in hits[:_SHOWN_HITS]:
            path = _short(hit.path)
            ranking.add_row(f"{hit.score:.3f}", output.cell(path), story.scenes[path].caption)
        output.show(ranking, f"Search: {query}")
    console = output.out()
    output.say(f"Text-to-image R-precision over all classes: {output.percent(story.r_precision)}")
    output.say(f"Report with images: {story.report_path}\n\nTry next:")
    for command in story.next_commands():
        console.print(f"  {command}", soft_wrap=True)


def _short(path: str) -> str:
    """The path within the scenes' folder."""
    return path.rsplit("/scenes/", 1)[-1]
