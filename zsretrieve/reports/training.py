"""The page of a training: its loss, temperature, gradient norm and held-out retrieval, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from zsretrieve.domain.model_training import TrainingPoint
from zsretrieve.domain.records import PathLike
from zsretrieve.reports.charts import Chart, Point, count_ticks, number_ticks, percent_ticks, svg
from zsretrieve.reports.look import STYLE, environment, file_text, markup
from zsretrieve.reports.pages import write_page

_BOX = (66, 16, 546, 220)
# Seconds until a browser loads the page of a running training again.
_AGAIN_S = 10


def write_training_report(
    path: PathLike, points: Sequence[TrainingPoint], steps: int, heading: str, *, running: bool, force: bool = False
) -> None:
    """Write the page of a training; while it is ``running``, a browser loads it again every ten seconds.

    Parameters
    ----------
    path : path
        Written beside and renamed; an earlier report there is replaced.
    points : sequence of TrainingPoint
    steps : int
        In all.
    heading : str
    running, force : bool
        ``force`` replaces a file that is not a report.

    Raises
    ------
    ReportError, OutputExistsError
        See ``zsretrieve.reports.check_report``.
    IndexFolderError
        If the system refuses to write.
    """
    page = (
        environment()
        .from_string(file_text("training.html.j2"))
        .render(
            heading=heading,
            points=points,
            steps=steps,
            again=_AGAIN_S if running else None,
            style=markup(STYLE),
            plots=[(title, markup(plot)) for title, plot in _plots(points, steps)],
        )
    )
    write_page(Path(path), page, force=force)


def _plots(points: Sequence[TrainingPoint], steps: int) -> list[tuple[str, str]]:
    """The plots of what was measured more than once, with their titles."""
    shown: list[tuple[str, dict[str, Callable[[TrainingPoint], float | None]]]] = [
        ("Loss", {"loss": lambda point: point.loss}),
        (
            "Recall@1 on held-out images",
            {"text to image": lambda point: point.text_to_image, "image to text": lambda point: point.image_to_text},
        ),
        ("Scale of probabilities (inverse temperature)", {"scale": lambda point: point.scale}),
        ("Gradient norm", {"gradient norm": lambda point: point.grad_norm}),
    ]
    drawn = []
    for title, figures in shown:
        lines = {name: _line(points, figure) for name, figure in figures.items()}
        if min(map(len, lines.values())) > 1:
            drawn.append((title, _plot(title, lines, steps)))
    return drawn


def _line(points: Sequence[TrainingPoint], figure: Callable[[TrainingPoint], float | None]) -> list[Point]:
    return [(float(point.step), value) for point in points if (value := figure(point)) is not None]


def _plot(title: str, lines: dict[str, list[Point]], steps: int) -> str:
    are_shares = len(lines) > 1
    top = 1.0 if are_shares else 1.05 * max(y for line in lines.values() for _, y in line) or 1.0
    chart = Chart(_BOX, (0, steps), (0, top))
    chart.axes("step", "", count_ticks(steps), percent_ticks(0, 1) if are_shares else number_ticks(0, top))
    for colour, line in zip(("first", "second"), lines.values(), strict=False):
        chart.line(colour, line)
        chart.points(colour, line)
    if are_shares:
        chart.legend((400, 180), [*zip(("first", "second"), lines, strict=False)])
    ends = "; ".join(f"{name} from {line[0][1]:.4g} to {line[-1][1]:.4g}" for name, line in lines.items())
    return svg(560, 262, f"{title} by step: {ends}.", chart)
