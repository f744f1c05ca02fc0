"""Trainings of a moment."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, Any] = {"steps": 12, "batch_size": 32, "seed": 3}
