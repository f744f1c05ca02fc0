"""Models measured on this machine, and those of them that are worth taking."""

from __future__ import annotations

import pytest
from conftest import Run

import zsretrieve as zs
from zsretrieve.api import model_speed


def test_those_that_another_beats_in_both_are_not_on_the_front() -> None:
    models = model_speed.compared(
        [
            ("slow and good", 2.0, "fp32", 0.80),
            ("fast", 50.0, "fp32", 0.65),
            ("slow and bad", 2.5, "fp32", 0.60),
            ("unknown", 100.0, "fp32", None),
            ("the same to a tenth", 1.0, "fp32", 0.8004),
        ]
    )
    assert [(model.name, model.on_front) for model in models] == [
        ("unknown", False),
        ("fast", True),
        ("slow and bad", False),
        ("slow and good", True),
        ("the same to a tenth", False),
    ]


def test_a_converted_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_speed, "_SECONDS", 0.0)
    zs.export_model("demo")
    stages: list[tuple[str, int, int]] = []
    measured = zs.measure_models("DEMO", on_stage=lambda *stage: stages.append(stage))
    (demo,) = (model for model in measured if model.name == "demo")
    assert demo.images_per_second > 0
    assert (demo.prec1, demo.on_front) == (None, False), "nothing is published about it"
    assert demo.precision == zs.Model("demo", zs.Compute("cpu")).load().encoding.precision
    assert stages[0] == ("measuring models", 0, len(measured))
    assert stages[-1] == ("measuring models", len(measured), len(measured))
    assert zs.measure_models("no such model") == []


def test_here_goes_alone(run_cli: Run) -> None:
    done = run_cli("models", "list", "--here", "--all")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--here" in done.stderr
    done = run_cli("models", "list", "--here", "no such model")
    assert (done.returncode, done.stdout) == (0, "")
    assert "models export small" in done.stderr
