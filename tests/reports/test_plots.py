"""Plots: those that the figures give, the same for the same figures, well-formed whatever classes are called."""

from __future__ import annotations

import base64
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra report is not installed")

from kits.runs import report_of, run_of

from zsretrieve.errors import OptionalDependencyError
from zsretrieve.metrics import expected_calibration_error, reliability
from zsretrieve.reports.plots import plots
from zsretrieve.results import Calibration, EvalReport, Interval, Rejection, Run


def figures(names: tuple[str, ...], n: int = 300, seed: int = 0) -> tuple[Run, EvalReport]:
    """A random run with all figures that plots are made of."""
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, len(names), n), rng.integers(0, len(names), n)
    predicted = np.where(rng.random(n) < 0.6, truth, predicted)
    run = run_of(truth.tolist(), predicted.tolist(), names, rng.random(n).tolist())
    bins = reliability(run.probabilities[:, 0], run.correct)
    error = expected_calibration_error(bins)
    calibration = Calibration("softmax", 100.0, error, 1.0, bins, 50.0, error / 2, 0.9, bins)
    rejection = Rejection("margin", 0.3, 0.7, n // 2, n // 3, 0.5, 2 / 3, Interval(0.6, 0.7))
    return run, report_of(run, calibration=calibration, rejection=rejection)


def svg(uri: str) -> ET.Element:
    head, data = uri.split(",")
    assert head == "data:image/svg+xml;base64"
    return ET.fromstring(base64.b64decode(data))


def words(root: ET.Element) -> set[str]:
    return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_every_plot_is_drawn_for_light_and_dark_pages() -> None:
    names = tuple(f"class {i}" for i in range(30))
    made = plots(*figures(names))
    assert set(made) == {"reliability", "coverage", "recall", "matrix"}
    for plot in made.values():
        light, dark = svg(plot.light), svg(plot.dark)
        assert words(light) == words(dark) != set()
        assert plot.light != plot.dark
        assert plot.alt.endswith(".")
    assert any("threshold 0.3 on margin" in text for text in words(svg(made["coverage"].light)))


def test_equal_figures_give_equal_bytes() -> None:
    assert plots(*figures(("a", "b", "c"))) == plots(*figures(("a", "b", "c")))


def test_plots_follow_the_figures() -> None:
    perfect = run_of([0, 1], [0, 1], ("a", "b"))
    assert set(plots(perfect, report_of(perfect))) == {"coverage"}
    assert plots(perfect, report_of(perfect, coverage={})) == {}
    one_wrong = run_of([0], [1], ("a", "b"))
    assert set(plots(one_wrong, report_of(one_wrong))) == {"coverage", "matrix"}
    assert {"1", "a", "b"} < words(svg(plots(one_wrong, report_of(one_wrong))["matrix"].light))


def test_no_accuracy_above_all_is_on_the_axis() -> None:
    run = run_of([0] * 200, [0] * 199 + [1], ("a", "b"))
    told = [text for text in words(svg(plots(run, report_of(run))["coverage"].light)) if text.endswith("%")]
    assert "100%" in told
    assert all(float(text.split()[-2] if " " in text else text[:-1]) <= 100 for text in told)


def test_names_are_names_whatever_they_hold() -> None:
    names = ("<script>alert()</script>", "$x^2$ & $", "\x00\x07\ud800 control", "😀 猫", "two\nlines", "long " * 20)
    run = run_of([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0], names)
    root = svg(plots(run, report_of(run))["matrix"].light)
    shown = words(root)
    assert {"<script>alert()</script>", "$x^2$ & $", "😀 猫", "two lines"} <= shown
    assert all(len(text) <= 40 for text in shown)
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = run_of([0], [0], ("a",))
    with pytest.raises(OptionalDependencyError) as caught:
        plots(run, report_of(run))
    assert str(caught.value.hint).endswith(" matplotlib")
