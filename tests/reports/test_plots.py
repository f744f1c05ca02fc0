"""Plots: those that the figures give, the same for the same figures, well-formed whatever classes are called."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
from kits.runs import report_of, run_of

from zsretrieve.domain.results import Calibration, EvalReport, Interval, Rejection
from zsretrieve.metrics import expected_calibration_error, reliability
from zsretrieve.reports.charts import COLOURS, Chart, count_ticks, percent_ticks
from zsretrieve.reports.plots import plots


def figures(names: tuple[str, ...], n: int = 300, seed: int = 0) -> EvalReport:
    """A random run with all figures that plots are made of."""
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, len(names), n), rng.integers(0, len(names), n)
    predicted = np.where(rng.random(n) < 0.6, truth, predicted)
    run = run_of(truth.tolist(), predicted.tolist(), names, rng.random(n).tolist())
    bins = reliability(run.probabilities[:, 0], run.correct)
    error = expected_calibration_error(bins)
    calibration = Calibration("softmax", 100.0, error, 1.0, bins, 50.0, error / 2, 0.9, bins)
    rejection = Rejection("margin", 0.3, 0.7, n // 2, n // 3, 0.5, 2 / 3, Interval(0.6, 0.7))
    return report_of(run, calibration=calibration, rejection=rejection)


def svg(text: str) -> ET.Element:
    root = ET.fromstring(text)
    assert root.attrib["aria-label"].endswith(".")
    return root


def words(root: ET.Element) -> set[str]:
    return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_every_plot_is_drawn_in_colours_that_a_page_overrides() -> None:
    names = tuple(f"class {i}" for i in range(30))
    made = plots(figures(names))
    assert set(made) == {"reliability", "coverage", "recall", "matrix"}
    for text in made.values():
        classes = {node.attrib["class"] for node in svg(text).iter() if "class" in node.attrib}
        assert "first" in classes <= set(COLOURS)
        assert words(svg(text))
    assert any("threshold 0.3 on margin" in text for text in words(svg(made["coverage"])))


def test_marks_are_where_the_figures_say() -> None:
    chart = Chart((10, 20, 110, 220), (0, 1), (0, 50))
    assert chart.at(0, 0) == (10, 220)
    assert chart.at(0.5, 50) == (60, 20)
    chart.bar("first", (0.5, 0), (1, 25))
    assert 'x="60.0" y="120.0" width="50.0" height="100.0"' in chart.parts[0]
    assert [text for _, text in percent_ticks(0.57, 1)] == ["60 %", "70 %", "80 %", "90 %", "100 %"]
    assert [value for value, _ in percent_ticks(0.985, 1)] == [0.99, 1.0]
    assert [text for _, text in count_ticks(3)] == ["0", "1", "2", "3"]
    assert [text for _, text in count_ticks(1234)] == ["0", "500", "1000"]


def test_equal_figures_give_equal_bytes() -> None:
    assert plots(figures(("a", "b", "c"))) == plots(figures(("a", "b", "c")))


def test_plots_follow_the_figures() -> None:
    perfect = run_of([0, 1], [0, 1], ("a", "b"))
    assert set(plots(report_of(perfect))) == {"coverage"}
    assert plots(report_of(perfect, coverage={})) == {}
    one_wrong = run_of([0], [1], ("a", "b"))
    assert set(plots(report_of(one_wrong))) == {"coverage", "matrix"}
    assert {"1", "a", "b"} < words(svg(plots(report_of(one_wrong))["matrix"]))


def test_no_accuracy_above_all_is_on_the_axis() -> None:
    run = run_of([0] * 200, [0] * 199 + [1], ("a", "b"))
    ticks = [text for text in words(svg(plots(report_of(run))["coverage"])) if text.endswith("%")]
    assert "100 %" in ticks
    assert all(float(text.split()[-2]) <= 100 for text in ticks)


def test_names_are_names_whatever_they_hold() -> None:
    names = ("<script>alert()</script>", "$x^2$ & $", "\x00\x07\ud800 control", "😀 猫", "two\nlines", "long " * 20)
    run = run_of([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0], names)
    root = svg(plots(report_of(run))["matrix"])
    shown = words(root)
    assert {"<script>alert()</script>", "$x^2$ & $", "😀 猫", "two lines"} <= shown
    assert all(len(text) <= 40 for text in shown)
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
