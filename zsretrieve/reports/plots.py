"""The plots of a report, drawn by matplotlib where it is installed, each for light and for dark pages."""

from __future__ import annotations

import base64
import io
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zsretrieve import mending
from zsretrieve.errors import OptionalDependencyError
from zsretrieve.reports.choosing import confusion_matrix, most_confused
from zsretrieve.results import Bin, EvalReport, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter

# A histogram says more than bars from here on.
MANY_CLASSES = 24
_MATRIX_CLASSES, _NUMBERED_CLASSES = 24, 16
_LONGEST_NAME = 24


@dataclass(frozen=True)
class _Colours:
    ink: str
    soft: str
    line: str
    first: str
    second: str
    map: str


_LIGHT = _Colours("#1c2430", "#5c6675", "#e2dfd6", "#3b6fb6", "#c26a1b", "Blues")
_DARK = _Colours("#e8e6e0", "#a2a8b3", "#313742", "#6d9ee0", "#e6a15c", "Blues_r")


@dataclass(frozen=True)
class Plot:
    """One plot as two data URIs of SVG, and what it shows in words."""

    light: str
    dark: str
    alt: str


Draw = Callable[["Figure", _Colours], None]


def plots(run: Run, report: EvalReport) -> dict[str, Plot]:
    """All plots that the figures give, by name: ``reliability``, ``coverage``, ``recall``, ``matrix``.

    Equal figures give equal bytes with one version of matplotlib.

    Raises
    ------
    OptionalDependencyError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise OptionalDependencyError(
            "plots need matplotlib, which is not installed", hint=f"Install it with: {mending.install('matplotlib')}"
        ) from error
    made = {}
    if report.calibration is not None:
        made["reliability"] = _plot(
            (6.0, 5.0), lambda figure, colours: _reliability(figure, colours, report),
            "Reliability diagram: the share of right answers against the probability that was told, with the "
            f"model's own scale (error {_percent(report.calibration.error)}) and the fitted one "
            f"({_percent(report.calibration.fitted_error)}).",
        )  # fmt: skip
    if any(report.coverage.values()):
        made["coverage"] = _plot(
            (6.0, 4.4), lambda figure, colours: _coverage(figure, colours, report),
            "Accuracy of the images that are answered against their share, as a threshold rises: "
            f"{' and '.join(f'by {by}' for by in report.coverage)}.",
        )  # fmt: skip
    if len(report.per_class) > MANY_CLASSES:
        made["recall"] = _plot(
            (6.0, 3.0), lambda figure, colours: _recall(figure, colours, report),
            f"Histogram of the recall of {len(report.per_class)} classes.",
        )  # fmt: skip
    classes = most_confused(report, _MATRIX_CLASSES)
    if classes:
        side = 3.4 + 0.28 * len(classes)
        made["matrix"] = _plot(
            (side + 0.6, side), lambda figure, colours: _matrix(figure, colours, run, classes),
            f"Confusion matrix of the {len(classes)} most confused classes; the counts of pairs stand in the table.",
        )  # fmt: skip
    return made


def _plot(size: tuple[float, float], draw: Draw, alt: str) -> Plot:
    return Plot(_svg(size, draw, _LIGHT), _svg(size, draw, _DARK), alt)


def _svg(size: tuple[float, float], draw: Draw, colours: _Colours) -> str:
    from matplotlib import style
    from matplotlib.figure import Figure

    ours: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": "zsretrieve", "font.family": "sans-serif", "font.size": 10,
        "text.color": colours.ink, "axes.labelcolor": colours.ink, "axes.edgecolor": colours.soft,
        "xtick.color": colours.soft, "ytick.color": colours.soft, "xtick.labelcolor": colours.ink,
        "ytick.labelcolor": colours.ink, "grid.color": colours.line, "axes.spines.top": False,
        "axes.spines.right": False, "axes.axisbelow": True, "legend.frameon": False,
    }  # fmt: skip
    out = io.BytesIO()
    # A user's own settings are for other plots.
    with style.context(["default", ours]), warnings.catch_warnings():
        # The browser has other fonts, and need not be told what this one lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, colours)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"


def _reliability(figure: Figure, colours: _Colours, report: EvalReport) -> None:
    found = report.calibration
    assert found is not None
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top.plot([0, 1], [0, 1], color=colours.soft, linewidth=1, linestyle=(0, (4, 4)))
    curves = (
        (found.bins, colours.first, "o", f"own scale {found.scale:.4g}: error {_percent(found.error)}"),
        (
            found.fitted_bins, colours.second, "s",
            f"fitted scale {found.fitted_scale:.4g}: error {_percent(found.fitted_error)}",
        ),
    )  # fmt: skip
    for number, (bins, colour, marker, label) in enumerate(curves):
        top.plot(
            [one.mean_probability for one in bins], [one.accuracy for one in bins], color=colour, marker=marker,
            markersize=5, linewidth=1.8, label=label,
        )  # fmt: skip
        _shares(below, bins, number, colour)
    top.set(ylim=(-0.02, 1.02), xlim=(-0.02, 1.02), ylabel="right answers")
    top.legend(loc="upper left", fontsize=9)
    below.set(xlabel="probability of the best class", ylabel="images")
    for axes in (top, below):
        axes.grid(visible=True, linewidth=0.8)
    _in_percent(top, "y")
    _in_percent(below, "xy")


def _shares(axes: Axes, bins: tuple[Bin, ...], number: int, colour: str) -> None:
    total = sum(one.n for one in bins)
    widths = [0.4 * (one.high - one.low) for one in bins]
    left = [one.low + (0.25 + number) * width for one, width in zip(bins, widths, strict=True)]
    axes.bar(left, [one.n / total for one in bins], widths, align="edge", color=colour)


def _coverage(figure: Figure, colours: _Colours, report: EvalReport) -> None:
    axes = figure.subplots()
    styles = ((colours.first, "-"), (colours.second, (0, (5, 2))))
    lowest = report.prec_at_1
    for (by, curve), (colour, line) in zip(report.coverage.items(), styles, strict=False):
        axes.plot(
            [one.coverage for one in curve], [one.accuracy for one in curve], color=colour, linestyle=line,
            linewidth=1.8, label=f"by {by}",
        )  # fmt: skip
        lowest = min([lowest, *(one.accuracy for one in curve)])
    axes.axhline(report.prec_at_1, color=colours.soft, linewidth=1, linestyle=(0, (4, 4)))
    axes.annotate(
        f"all answered: {_percent(report.prec_at_1)}", (0, report.prec_at_1), (4, 4), textcoords="offset points",
        color=colours.soft, fontsize=9, va="bottom",
    )  # fmt: skip
    chosen = report.rejection
    if chosen is not None and chosen.precision is not None:
        axes.plot(
            [chosen.coverage], [chosen.precision], marker="D", markersize=8, linestyle="", color=colours.ink,
            label=f"threshold {chosen.threshold:.4g} on {chosen.by}",
        )  # fmt: skip
        lowest = min(lowest, chosen.precision)
    shown = (max(-0.02, lowest - 0.1), 1.02)
    axes.set(xlim=(-0.02, 1.02), ylim=shown)
    # Room above the line is no accuracy above 100 %.
    axes.set_yticks([tick for tick in axes.get_yticks() if shown[0] <= tick < 1.001])
    axes.set(xlabel="images that are answered", ylabel="of these right")
    axes.grid(visible=True, linewidth=0.8)
    axes.legend(loc="lower left", fontsize=9)
    _in_percent(axes, "xy")


def _recall(figure: Figure, colours: _Colours, report: EvalReport) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    axes.hist(
        [score.recall for score in report.per_class],
        bins=np.linspace(0, 1, 21).tolist(),
        color=colours.first,
        rwidth=0.9,
    )
    axes.axvline(
        report.mean_per_class_recall,
        color=colours.second,
        linewidth=1.8,
        label=f"mean {_percent(report.mean_per_class_recall)}",
    )
    axes.set(xlim=(-0.02, 1.02), xlabel="recall", ylabel="classes")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, axis="y", linewidth=0.8)
    axes.legend(loc="upper left", fontsize=9)
    _in_percent(axes, "x")


def _matrix(figure: Figure, colours: _Colours, run: Run, classes: tuple[int, ...]) -> None:
    counts = confusion_matrix(run, classes)
    totals = counts.sum(axis=1, keepdims=True)
    # A class that is only ever taken for has no image, and an empty row.
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    n = len(classes)
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap=colours.map, vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    names = [_short(run.class_names[class_id]) for class_id in classes]
    axes.set_xticks(
        range(n + 1),
        [*names, "any other"],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        parse_math=False,
        fontsize=9,
    )
    axes.set_yticks(range(n), names, parse_math=False, fontsize=9)
    axes.set(xlabel="taken for", ylabel="true class")
    axes.axvline(n - 0.5, color=colours.soft, linewidth=1)
    if n <= _NUMBERED_CLASSES:
        for row, column in np.argwhere(counts > 0):
            dark_cell = (shares[row, column] > 0.5) == (colours is _LIGHT)
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                color="#ffffff" if dark_cell else "#10151c",
            )  # fmt: skip
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="of the true class's images", format=_percent_ticks())


def _in_percent(axes: Axes, which: str) -> None:
    for letter in which:
        getattr(axes, f"{letter}axis").set_major_formatter(_percent_ticks())


def _percent_ticks() -> Formatter:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1, decimals=0)


def _short(name: str) -> str:
    """A name as the label of an axis: in one line, of what SVG may hold, and not too long."""
    seen = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Zl", "Zp") else c for c in name)
    return seen if len(seen) <= _LONGEST_NAME else f"{seen[: _LONGEST_NAME - 1]}…"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
