"""The plots of a report, each an SVG image in the colours of the page."""

from __future__ import annotations

import itertools

import numpy as np

from zsretrieve.domain.results import Calibration, EvalReport, Run
from zsretrieve.reports.charts import Chart, count_ticks, percent_ticks, svg, visible
from zsretrieve.reports.choosing import confusion_matrix, most_confused

# From here on, a histogram is clearer than bars.
MANY_CLASSES = 24
_MATRIX_CLASSES, _NUMBERED_CLASSES = 24, 16
_LONGEST_NAME = 24
_WIDTH, _LEFT, _RIGHT = 560, 66, 546
_UNIT = (-0.02, 1.02)


def plots(report: EvalReport) -> dict[str, str]:
    """All plots that the figures give, by name: ``reliability``, ``coverage``, ``recall``, ``matrix``."""
    drawn = {}
    if report.calibration is not None:
        drawn["reliability"] = _reliability(report.calibration)
    if any(report.coverage.values()):
        drawn["coverage"] = _coverage(report)
    if len(report.per_class) > MANY_CLASSES:
        drawn["recall"] = _recall(report)
    classes = most_confused(report, _MATRIX_CLASSES)
    if classes:
        drawn["matrix"] = _matrix(report.run, classes)
    return drawn


def _reliability(calibration: Calibration) -> str:
    top = Chart((_LEFT, 16, _RIGHT, 320), _UNIT, _UNIT)
    top.axes("", "right answers", [], percent_ticks(0, 1))
    top.line("soft", [(0, 0), (1, 1)], width=1, dashed=True)
    curves = (
        ("first", "own", calibration.scale, calibration.error, calibration.bins),
        ("second", "fitted", calibration.fitted_scale, calibration.fitted_error, calibration.fitted_bins),
    )
    shares = [one.n / sum(other.n for other in bins) for *_, bins in curves for one in bins]
    below = Chart((_LEFT, 340, _RIGHT, 420), _UNIT, (0, max(shares)))
    below.axes("probability of the best class", "images", percent_ticks(0, 1), percent_ticks(0, max(shares)))
    for number, (colour, _, _, _, bins) in enumerate(curves):
        points = [(one.mean_probability, one.accuracy) for one in bins]
        top.line(colour, points)
        top.points(colour, points)
        total = sum(one.n for one in bins)
        for one in bins:
            width = 0.4 * (one.high - one.low)
            left = one.low + (0.25 + number) * width
            below.bar(colour, (left, 0), (left + width, one.n / total))
    top.legend(
        (_LEFT + 12, 34),
        [(colour, f"{which} scale {scale:.4g}: error {_percent(error)}") for colour, which, scale, error, _ in curves],
    )
    alt = (
        "Reliability diagram: the fraction of right answers against the stated probability, with the model's own "
        f"scale (error {_percent(calibration.error)}) and the fitted one ({_percent(calibration.fitted_error)})."
    )
    return svg(_WIDTH, 470, alt, top, below)


def _coverage(report: EvalReport) -> str:
    accuracies = [one.accuracy for curve in report.coverage.values() for one in curve]
    chosen = report.rejection
    if chosen is not None and chosen.precision is not None:
        accuracies.append(chosen.precision)
    low = max(-0.02, min([report.prec_at_1, *accuracies]) - 0.1)
    chart = Chart((_LEFT, 16, _RIGHT, 340), _UNIT, (low, 1.02))
    chart.axes("images answered", "answers that are right", percent_ticks(0, 1), percent_ticks(low, 1))
    chart.line("soft", [(0, report.prec_at_1), (1, report.prec_at_1)], width=1, dashed=True)
    x, y = chart.at(0, report.prec_at_1)
    chart.text((x + 4, y - 5), f"all answered: {_percent(report.prec_at_1)}", "soft")
    legend = []
    for colour, (by, curve) in zip(("first", "second"), report.coverage.items(), strict=False):
        chart.line(colour, [(one.coverage, one.accuracy) for one in curve], dashed=colour == "second")
        legend.append((colour, f"by {by}"))
    if chosen is not None and chosen.precision is not None:
        chart.points("ink", [(chosen.coverage, chosen.precision)])
        legend.append(("ink", f"threshold {chosen.threshold:.4g} on {chosen.by}"))
    chart.legend((_LEFT + 12, 334 - 18 * (len(legend) - 1)), legend)
    alt = (
        "Accuracy of the answered images against the fraction answered, as a threshold rises: "
        f"{' and '.join(f'by {by}' for by in report.coverage)}."
    )
    return svg(_WIDTH, 390, alt, chart)


def _recall(report: EvalReport) -> str:
    counts, edges = np.histogram([score.recall for score in report.per_class], bins=20, range=(0, 1))
    most, mean = int(counts.max()), report.mean_per_class_recall
    chart = Chart((_LEFT, 34, _RIGHT, 240), _UNIT, (0, most))
    chart.axes("recall", "classes", percent_ticks(0, 1), count_ticks(most))
    for count, (low, high) in zip(counts.tolist(), itertools.pairwise(edges.tolist()), strict=True):
        chart.bar("first", (low + 0.002, 0), (high - 0.002, count))
    chart.line("second", [(mean, 0), (mean, most)])
    chart.legend((_LEFT + 12, 22), [("second", f"mean {_percent(mean)}")])
    return svg(_WIDTH, 290, f"Histogram of the recall of {len(report.per_class)} classes.", chart)


def _matrix(run: Run, classes: tuple[int, ...]) -> str:
    counts = confusion_matrix(run, classes)
    # A class without images has an empty row.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n, side, names = len(classes), 26, [_short(run.class_names[class_id]) for class_id in classes]
    room = 6.2 * max(len(name) for name in (*names, "any other"))
    left, bottom = 24 + room, 24 + side * n
    chart = Chart((left, 24, left + side * (n + 1), bottom), (0, n + 1), (0, n))
    for (row, column), share in np.ndenumerate(shares):
        if not share:
            continue
        corner = (column, n - 1 - row)
        chart.bar("first", corner, (column + 1, n - row), share)
        if n <= _NUMBERED_CLASSES:
            x, y = chart.at(column + 0.5, corner[1] + 0.5)
            colour = "over" if share > 0.5 else "ink"
            chart.text((x, y + 4), str(counts[row, column]), colour, anchor="middle", size=10)
    for place, name in enumerate(names):
        chart.text((left - 6, 24 + side * (place + 0.5) + 4), name, anchor="end", size=11)
    for place, name in enumerate([*names, "any other"]):
        chart.text((left + side * (place + 0.5) + 4, bottom + 14), name, anchor="end", size=11, turned=-60)
    chart.line("soft", [(n, 0), (n, n)], width=1)
    chart.line("soft", [(0, n), (0, 0), (n + 1, 0)], width=1)
    chart.text((left - 6, 14), "true class", "soft", anchor="end", size=11)
    chart.text((left + side * (n + 1), bottom + room + 16), "taken for", "soft", anchor="end", size=11)
    alt = f"Confusion matrix of the {n} most confused classes; the table has the counts."
    return svg(left + side * (n + 1) + 16, bottom + room + 26, alt, chart)


def _short(name: str) -> str:
    """A name as the label of an axis, not too long."""
    name = visible(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
