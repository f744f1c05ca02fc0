"""What open_clip knows: architectures, pretrained tags, and the shapes of timm's towers that its SigLIP models name.

``scripts/open_clip_tables`` writes ``open_clip.json`` from the installed open_clip, so that a name can be checked, a
model described and its weights found where open_clip is absent, and without the import of torch where it is not.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What every tag's record says of images.
SCALING = ("mean", "std", "interpolation", "resize_mode")
_FILE = Path(__file__).with_name("open_clip.json")


@dataclass(frozen=True)
class TowerShape:
    """A vision transformer of timm's that pools by attention; ``hidden`` is the width between the layers of an MLP."""

    patch: int
    width: int
    layers: int
    heads: int
    hidden: int
    activation: str


@functools.cache
def _tables() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content


def preprocessing() -> dict[str, Any]:
    """How open_clip prepares images where neither a model's configuration nor its tag says otherwise."""
    return dict(_tables()["preprocessing"])


def architectures() -> list[str]:
    """The names of open_clip's architectures."""
    return list(_tables()["architectures"])


def architecture(arch: str) -> dict[str, Any]:
    """The configuration of an architecture; empty if there is none. It is shared, so it must not be changed."""
    return dict(_tables()["architectures"].get(arch, {}))


def tags(arch: str) -> list[str]:
    """The pretrained tags of an architecture."""
    return list(_tables()["pretrained"].get(arch, {}))


def tag_record(arch: str, tag: str) -> dict[str, Any]:
    """Where the weights of a tag are (``hf_hub`` or ``url``) and how they are used; empty if there is no such tag."""
    record = _tables()["pretrained"].get(arch, {}).get(tag.lower().replace("-", "_"))
    usual = preprocessing()
    return {} if record is None else {key: usual[key] for key in SCALING} | record


def all_tags() -> list[tuple[str, str]]:
    """Every architecture with each of its tags, in open_clip's order."""
    return [(arch, tag) for arch, records in _tables()["pretrained"].items() for tag in records]


def tower_shape(timm_name: str) -> TowerShape | None:
    """The shape of a timm tower that pools by attention; None if open_clip's SigLIP models name no such tower."""
    shape = _tables()["vision_transformers"].get(timm_name)
    return None if shape is None else TowerShape(**shape)
