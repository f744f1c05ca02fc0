"""Labelling tools read what we write, by their own code, in environments of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.environment import python_with

import zsretrieve as zs

pytestmark = pytest.mark.peer

READERS = ("label-studio-sdk==2.0.17", "datumaro==1.13.12", "pycocotools==2.0.11")


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_with(READERS, tmp_path_factory.mktemp("readers"))


def export(annotations: zs.Annotations, out: Path, form: str) -> None:
    zs.hand_over(annotations, zs.Handover(out, form))
