"""The tables of open_clip against open_clip itself, and that nothing else is needed to know a model."""

from __future__ import annotations

import gzip
import importlib.machinery
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import open_clip
import pytest
from kits.without import run_without_extras
from open_clip.pretrained import get_pretrained_cfg, list_pretrained

import zsretrieve as zs
from zsretrieve.encoders.catalog import tables
from zsretrieve.encoders.catalog.registry import known_models

SCRIPT = Path(__file__).parents[3] / "scripts" / "open_clip_tables"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("open_clip_tables", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_installed_open_clip(script: ModuleType) -> None:
    assert script.TABLES.read_text(encoding="utf-8") == script.tables(), "run scripts/open_clip_tables"
    assert gzip.decompress(script.MERGES.read_bytes()).decode() == script.merges(), "run scripts/open_clip_tables"


def test_every_tag_and_architecture_is_as_open_clip_has_it() -> None:
    assert tables.all_tags() == list_pretrained()
    for arch, tag in list_pretrained():
        record = {key: value for key, value in get_pretrained_cfg(arch, tag).items() if value}
        assert tables.tag_record(arch, tag) == json.loads(json.dumps(record)), f"{arch}/{tag}"
        assert tables.tag_record(arch, tag.upper().replace("_", "-")) == tables.tag_record(arch, tag)
    assert sorted(tables.architectures()) == sorted(open_clip.list_models())
    for arch in open_clip.list_models():
        assert tables.architecture(arch) == open_clip.get_model_config(arch)
    assert tables.architecture("none") == tables.tag_record("ViT-B-32", "none") == {}
    assert tables.tags("none") == []
    assert tables.tower_shape("resnet50") is None


ASK = """
import json
from zsretrieve.domain.errors import ZsRetrieveError
import zsretrieve as zs
from zsretrieve.encoders.catalog.registry import known_models
said = {"known": len(known_models()), "wrong": []}
said["described"] = [zs.describe_model(name) for name in NAMES]
said["identity"] = [zs.Model(name).identity for name in NAMES]
for name in ("ViT-B-23/openai", "ViT-B-32/opnai"):
    try:
        zs.Model(name).load()
    except ZsRetrieveError as error:
        said["wrong"].append(error.hint)
print(json.dumps(said))
"""


def test_names_are_known_where_open_clip_is_absent() -> None:
    names = ["small", "ViT-B-16-SigLIP2-256/webli", "demo", "ViT-B-32/openai"]
    said = json.loads(run_without_extras(f"NAMES = {names!r}\n{ASK}"))
    assert said["known"] == len(known_models())
    assert said["described"] == json.loads(json.dumps([zs.describe_model(name) for name in names]))
    assert said["identity"][1] == "tag:ViT-B-16-SigLIP2-256/webli"
    assert "ViT-B-32/openai" in said["wrong"][0]
    assert said["wrong"][1] == "Did you mean ViT-B-32/openai?"
