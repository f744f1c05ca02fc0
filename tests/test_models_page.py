"""docs/models.md is what scripts/models_table makes of the table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from zsretrieve.encoders.catalog.published import published_models

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "models_table", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_holds_every_model_and_marks_the_front() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| (\\\*)? ?\| `", line)]
    assert len(rows) == len(published_models())
    marked = {re.findall(r"`(.+?)`", row)[0] for row in rows if row.startswith(r"| \*")}
    assert marked == {model.name for model in published_models() if model.on_front}


def test_advice_names_models_of_the_front_or_of_a_licence() -> None:
    advice = PAGE.partition("## How to choose")[2].partition("```")[0]
    named = re.findall(r"`([^`]+/[^`]+)` \((\S+) % at (\S+) GFLOP\)", advice)
    assert len(named) >= 8
    by_name = {model.name: model for model in published_models()}
    for name, accuracy, gflop in named:
        model = by_name[name]
        assert (f"{100 * (model.prec1 or 0):.1f}", f"{model.gflop:,.1f}") == (accuracy, gflop)
