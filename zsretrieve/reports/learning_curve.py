"""Plots of few-shot curves: SVG, or PNG and PDF by matplotlib, which is an extra."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import OptionalDependencyError, SourceError
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.wording import counted
from zsretrieve.prototypes.learning_curve import CurvePoint, FewShotCurve, Method
from zsretrieve.reports.charts import Chart, percent_ticks, svg
from zsretrieve.system import install_hints

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people with red-green colour blindness can distinguish; and markers, for greyscale.
_LOOKS = {
    Method.ZERO_SHOT: ("#000000", "*"),
    Method.MULTI_SHOT: ("#0072B2", "o"),
    Method.MIX: ("#009E73", "s"),
    Method.PROBE: ("#D55E00", "^"),
    Method.TIP: ("#CC79A7", "v"),
    Method.TIP_F: ("#56B4E9", "D"),
    Method.LP: ("#E69F00", "P"),
}
# In SVG.
_COLOURS = {
    Method.ZERO_SHOT: "ink",
    Method.MULTI_SHOT: "first",
    Method.MIX: "third",
    Method.PROBE: "second",
    Method.TIP: "fourth",
    Method.TIP_F: "fifth",
    Method.LP: "sixth",
}


def check_plot(path: PathLike) -> None:
    """Raise, before anything is computed, if a plot cannot be written to a file.

    Raises
    ------
    OptionalDependencyError
        If it is not SVG, and matplotlib is not installed.
    SourceError
        If the file is not a PNG, SVG or PDF file, or its folder does not exist.
    """
    file = Path(path)
    if file.suffix.lower() not in PLOT_SUFFIXES:
        raise SourceError(f"a plot must be named .png, .svg or .pdf, not '{file.name}'", hint="Give another name.")
    if not file.parent.is_dir() or file.is_dir():
        raise SourceError(f"'{file}' cannot be written: no such folder", hint="Check the path.")
    if file.suffix.lower() != ".svg":
        _figure()


def plot_curve(curve: FewShotCurve, path: PathLike) -> None:
    """Draw a few-shot curve with its intervals into a PNG, SVG or PDF file.

    Raises as ``check_plot`` does, and SourceError if the system refuses to write.
    """
    check_plot(path)
    try:
        if Path(path).suffix.lower() == ".svg":
            Path(path).write_text(_svg(curve), encoding="utf-8")
        else:
            _drawn(curve).savefig(os.fspath(path), dpi=150)
    except OSError as error:
        raise SourceError(f"'{path}' cannot be written: {error.strerror or error}", hint="Check the path.") from error


def _svg(curve: FewShotCurve) -> str:
    shots = sorted({point.shots for point in curve.points})
    places = {n: place for place, n in enumerate(shots)}
    ends = [end for point in curve.points for end in (point.interval.low, point.interval.high)]
    low, high = max(-0.02, min(ends) - 0.02), min(1.02, max(ends) + 0.02)
    chart = Chart((66, 44, 626, 400), (-0.3, len(shots) - 0.7), (low, high))
    ticks = [(float(place), str(n)) for n, place in places.items()]
    chart.axes("labelled images per class", f"Prec@1 on {curve.n_scored} images", ticks, percent_ticks(low, high))
    legend = []
    for method in Method:
        points = [point for point in curve.points if point.method is method]
        if not points:
            continue
        colour, marks = _COLOURS[method], [(float(places[point.shots]), point.prec_at_1) for point in points]
        for point, (x, _) in zip(points, marks, strict=True):
            chart.line(colour, [(x, point.interval.low), (x, point.interval.high)], width=1)
        if method is Method.ZERO_SHOT:
            chart.line(colour, [(x, marks[0][1]) for x in chart.x], width=1, dashed=True)
        chart.line(colour, marks)
        chart.points(colour, marks)
        legend.append((colour, _label(curve, method)))
    chart.legend((440, 396 - 18 * len(legend)), legend)
    chart.text((66, 24), _title(curve))
    return svg(660, 450, f"Few-shot curve: {_title(curve)}.", chart)


def _title(curve: FewShotCurve) -> str:
    return f"{curve.model}, {curve.n_classes} classes, mean of {counted(len(curve.seeds), 'draw')}, 95 % intervals"


def _label(curve: FewShotCurve, method: Method) -> str:
    return f"{method} ({curve.templates})" if method is Method.ZERO_SHOT else str(method)


def _drawn(curve: FewShotCurve) -> Any:
    """The figure of matplotlib."""
    figure = _figure()(figsize=(7.0, 4.6), layout="constrained")
    axes = figure.subplots()
    shots = sorted({point.shots for point in curve.points})
    places = {n: place for place, n in enumerate(shots)}
    for method in Method:
        points = [point for point in curve.points if point.method is method]
        if not points:
            continue
        colour, marker = _LOOKS[method]
        values = [100 * point.prec_at_1 for point in points]
        axes.errorbar(
            [places[point.shots] for point in points], values, yerr=_bars(points), color=colour, marker=marker,
            capsize=3, label=_label(curve, method),
        )  # fmt: skip
        if method is Method.ZERO_SHOT:
            axes.axhline(values[0], color=colour, linestyle=":", linewidth=1)
    axes.set_xticks(range(len(shots)), [str(n) for n in shots])
    axes.set_xlabel("labelled images per class")
    axes.set_ylabel(f"Prec@1 (%) on {curve.n_scored} images")
    axes.set_title(_title(curve), fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    return figure


def _bars(points: list[CurvePoint]) -> list[list[float]]:
    """How far the intervals reach below and above, in percent."""
    return [
        [100 * max(0.0, point.prec_at_1 - point.interval.low) for point in points],
        [100 * max(0.0, point.interval.high - point.prec_at_1) for point in points],
    ]


def _figure() -> Any:
    """Matplotlib's Figure, which needs no display."""
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise OptionalDependencyError(
            f"drawing a plot needs matplotlib, which cannot be imported: {' '.join(str(error).split())}",
            hint=f"Install it with: {install_hints.install('matplotlib')}",
        ) from error
