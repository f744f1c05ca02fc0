"""Reports that people look at: one page of an evaluation, with pictures of what goes wrong.

Names are imported when first used: what a page is made of is not for those who ask for none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsretrieve.reports.advice import Advice, Asked
    from zsretrieve.reports.pages import PICTURES, check_report, write_report

__all__ = ["PICTURES", "Advice", "Asked", "check_report", "write_report"]

_HOMES = {"Advice": "advice", "Asked": "advice", "PICTURES": "pages", "check_report": "pages", "write_report": "pages"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'zsretrieve.reports' has no attribute '{name}'")
    return getattr(importlib.import_module(f"zsretrieve.reports.{_HOMES[name]}"), name)
