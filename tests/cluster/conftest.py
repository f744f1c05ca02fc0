"""All tests of this folder share one cluster of Ray, and run in one process (``TOGETHER`` in ``tests/conftest.py``)."""

from __future__ import annotations

from kits.cluster import pytest_runtest_teardown, three_nodes

__all__ = ["pytest_runtest_teardown", "three_nodes"]
