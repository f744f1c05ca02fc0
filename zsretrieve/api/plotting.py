"""Drawing curves by matplotlib, which is an extra."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from zsretrieve.api.opening import PathLike
from zsretrieve.errors import OptionalDependencyError, SourceError
from zsretrieve.verbs.curve import CurvePoint, FewShotCurve, Method

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people who confuse red and green tell apart too; and markers, for prints in grey.
_LOOKS = {
    Method.ZERO_SHOT: ("#000000", "*"),
    Method.MULTI_SHOT: ("#0072B2", "o"),
    Method.MIX: ("#009E73", "s"),
    Method.PROBE: ("#D55E00", "^"),
}


def check_plot(path: PathLike) -> None:
    """Raise, before anything is computed, if a plot could not be written to a file.

    Raises
    ------
    OptionalDependencyError
        If matplotlib is not installed.
    SourceError
        If the file is of another kind than PNG, SVG or PDF, or its folder is not there.
    """
    file = Path(path)
    if file.suffix.lower() not in PLOT_SUFFIXES:
        raise SourceError(f"'{file}' is no plot by its name", hint="Name it .png, .svg or .pdf.")
    if not file.parent.is_dir() or file.is_dir():
        raise SourceError(f"'{file}' cannot be written: no such folder", hint="Check the path.")
    _figure()


def plot_curve(curve: FewShotCurve, path: PathLike) -> None:
    """Draw a few-shot curve with its intervals into a PNG, SVG or PDF file. Raises as ``check_plot`` does, and
    SourceError if the system refuses to write.
    """
    check_plot(path)
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
            capsize=3, label=f"{method} ({curve.templates})" if method is Method.ZERO_SHOT else str(method),
        )  # fmt: skip
        if method is Method.ZERO_SHOT:
            axes.axhline(values[0], color=colour, linestyle=":", linewidth=1)
    axes.set_xticks(range(len(shots)), [str(n) for n in shots])
    axes.set_xlabel("labelled images of each class")
    axes.set_ylabel(f"Prec@1 (%) on {curve.n_scored} images")
    draws = "1 draw" if len(curve.seeds) == 1 else f"{len(curve.seeds)} draws"
    axes.set_title(f"{curve.model}, {curve.n_classes} classes, mean of {draws}, 95 % intervals", fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    try:
        figure.savefig(os.fspath(path), dpi=150)
    except OSError as error:
        raise SourceError(f"'{path}' cannot be written: {error.strerror or error}", hint="Check the path.") from error


def _bars(points: list[CurvePoint]) -> list[list[float]]:
    """How far the intervals reach below and above, in per cent."""
    return [
        [100 * max(0.0, point.prec_at_1 - point.interval.low) for point in points],
        [100 * max(0.0, point.interval.high - point.prec_at_1) for point in points],
    ]


def _figure() -> Any:
    """Matplotlib's Figure, which needs no screen."""
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise OptionalDependencyError(
            f"drawing a plot needs matplotlib, which cannot be imported: {' '.join(str(error).split())}",
            hint="Install it with: pip install 'zsretrieve[report]'",
        ) from error
