"""``--fp16-index`` reaches whatever is opened or made; without a GPU there is no copy that could be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kits.pictures import pictures
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.backends import loading as backend_loading
from zsretrieve.cli.app import app


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    encoder = zs.Model("demo").load()
    zs.build_gallery(pictures(root / "photos", 5), root / "gallery", encoder)
    zs.build_prototypes(root / "prototypes", ["class 0", "class 1", "class 2"], encoder)
    return root


@pytest.mark.parametrize(
    "words",
    [
        ["search", "GALLERY", "red"], ["classify", "GALLERY", "-p", "PROTOTYPES"],
        ["classify", "GALLERY", "-l", "red,blue"], ["evaluate", "PHOTOS", "-p", "PROTOTYPES"],
    ],
)  # fmt: skip
def test_every_index_is_asked_for_in_float16(world: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = backend_loading.index_backend, []

    def noted(device: str = "auto", *, half: bool = False, sharded: bool = False) -> Any:
        asked.append(half)
        return plain(device, half=half, sharded=sharded)

    monkeypatch.setattr(backend_loading, "index_backend", noted)
    places = {name: str(world / name.lower()) for name in ("GALLERY", "PROTOTYPES", "PHOTOS")}
    told = []
    for more, half in (([], False), (["--fp16-index"], True)):
        asked.clear()
        done = CliRunner().invoke(
            app, ["--quiet", *[places.get(word, word) for word in words], "--format", "json", *more]
        )
        assert done.exit_code == 0, done.output
        assert asked
        assert set(asked) == {half}
        told.append(done.stdout)
    assert told[0] == told[1]
