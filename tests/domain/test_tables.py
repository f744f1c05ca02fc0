"""Results as one line, as tables of a notebook, and as data frames."""

from __future__ import annotations

import sys

import pytest
from kits.runs import report_of, run_of

import zsretrieve as zs
from zsretrieve.domain.plain import html_table
from zsretrieve.prototypes.learning_curve import CurvePoint, Method

NAMES = ("ant", "bee", "<cat>")


def report(right: int = 30) -> zs.EvalReport:
    truth = [0] * 20 + [1] * 20
    return report_of(run_of(truth, [c if i < right else 2 for i, c in enumerate(truth)], NAMES))


def classification() -> zs.Classification:
    first = zs.Prediction(1, 2, "<cat>", 0.3, 0.75), zs.Prediction(2, 0, "ant", 0.2, 0.25)
    images = (zs.Classified("a.png", None, first), zs.Classified("b.png", None, first, rejected=True))
    return zs.Classification(images, (zs.Skipped("c.png", "broken"),))


def test_a_report_is_one_line_and_its_figures_a_table() -> None:
    assert repr(report()) == "EvalReport(Prec@1 75.00 % = 30 / 40, 3 classes, demo, templates: standard)"
    page = report()._repr_html_()
    assert "<td>Prec@1</td><td>0.7500</td>" in page
    assert "<td>mean per-class recall</td>" in page
    frame = report().to_pandas()
    assert list(frame["class_name"]) == ["ant", "bee"]
    assert list(frame["recall"]) == [1.0, 0.5]
    assert {"low", "high", "n_scored"} <= set(frame.columns)


def test_classifications_are_tables() -> None:
    classified = classification()
    assert repr(classified) == "Classification(2 images, 1 skipped)"
    assert "<td>a.png</td><td>&lt;cat&gt;</td><td>0.7500</td>" in classified._repr_html_()
    assert "<td>b.png</td><td>unknown</td>" in classified._repr_html_()
    assert list(classified.to_pandas()["path"]) == ["a.png", "a.png", "b.png", "b.png"]
    content = classified.to_dict()
    assert content["skipped"] == [{"path": "c.png", "reason": "broken"}]
    assert content["results"][0]["predictions"][0]["class_name"] == "<cat>"


def test_comparisons_and_curves_are_tables() -> None:
    first, second = report(30).run, report(32).run
    compared = zs.compare(first, second)
    assert repr(compared).startswith("Comparison(+5.00 points (")
    assert list(compared.to_pandas()["won"]) == [True, True]
    point = CurvePoint(Method.PROBE, 2, 0.5, zs.Interval(0.4, 0.6), 0.0, 10, 20, (5,), (1.0,))
    curve = zs.FewShotCurve((point,), 10, 20, 2, 0, tuple(range(3)), None, (), "demo", "raw", (), 0)
    assert repr(curve) == "FewShotCurve(1 points, 10 images scored, demo)"
    assert curve.to_dict()["points"][0]["prec@1"] == 0.5
    assert curve.to_pandas().loc[0, "low"] == 0.4
    assert zs.Repaired(("x",), 3).to_dict() == {"done": ["x"], "recovered": 3, "lost": [], "n_lost": 0}


def test_a_long_table_is_cut() -> None:
    page = html_table("t", [{"n": n} for n in range(25)])
    assert page.count("<tr>") == 21
    assert "and 5 more" in page
    assert html_table("t", []) == "<p>t</p><table></table>"


def test_a_data_frame_names_the_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(zs.OptionalDependencyError, match="a data frame needs pandas") as caught:
        report().to_pandas()
    assert "pip install pandas" in str(caught.value.hint)


def test_the_version_is_a_name_of_the_package() -> None:
    assert zs.__version__[0].isdigit() or zs.__version__ == "unknown"
    assert "__version__" in zs.__all__
    with pytest.raises(AttributeError):
        zs.system.version.nothing  # type: ignore[attr-defined]  # noqa: B018
