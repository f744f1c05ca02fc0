"""Assistants may ask for an exact ranking."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kits.calibrated import calibrated
from kits.hashing_encoder import HashingEncoder
from kits.vector_gallery import vector_gallery
from kits.web import service_for

import zsretrieve as zs
from zsretrieve.mcp.tools import Tools


def test_a_search_compares_every_image_if_asked(tmp_path: Path) -> None:
    out = vector_gallery(tmp_path / "large", calibrated(2000, 32, 5).images)
    zs.set_index_kind(out, "IVF16,SQ8")
    tools = Tools(service_for(HashingEncoder(), [out], []))
    assert asyncio.run(tools.search("a cat"))["exact"] is False
    assert asyncio.run(tools.search("a cat", exact=True))["exact"] is True
    assert asyncio.run(tools.search("a cat", recall=1))["exact"] is True
