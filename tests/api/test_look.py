"""Heat maps from tiles, their drawing, and the command."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from kits.hashing_encoder import NEVER, HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.domain.heat import windows
from zsretrieve.domain.ports import Encoder
from zsretrieve.encoding.heat import heat_of_tiles
from zsretrieve.images.parts import part

ENCODER = HashingEncoder()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red star above or left of a blue circle."""
    path = tmp_path_factory.mktemp("look") / "pair.png"
    scenes.draw(scenes.pair("red star", "blue circle", random.Random(3)), 256).save(path)
    return path


def test_tiles_are_blended_by_how_near_their_middle_is() -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    texts = ENCODER.encode_texts(["one", "another"])
    heat = heat_of_tiles(image, texts, ENCODER, 3, None)
    assert heat.shape == (2, 32, 48)
    for row, column in ((0, 0), (31, 47), (15, 20), (7, 40)):
        x, y = (column + 0.5) / 48, (row + 0.5) / 32
        expected = np.zeros(2)
        for level in (2, 3):
            sums, weights = np.zeros(2), 0.0
            for left, top, right, bottom in windows(60, 40, level):
                if not (left <= x <= right and top <= y <= bottom):
                    continue
                near = [max(1 - abs(2 * (at - low) / (high - low) - 1), 1e-3)
                        for at, low, high in ((x, left, right), (y, top, bottom))]  # fmt: skip
                vector = ENCODER.encode_prepared([ENCODER.prepare(part(image, (left, top, right, bottom)))])[0]
                sums += near[0] * near[1] * (texts @ vector)
                weights += near[0] * near[1]
            expected += sums / weights / 2
        np.testing.assert_allclose(heat[:, row, column], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (300, 2), (7, 5)])
def test_images_smaller_than_a_tile_and_panoramas(size: tuple[int, int]) -> None:
    found = zs.look(Image.new("RGB", size, "red"), ["a", "b"], ENCODER, tiles="pyramid:4")
    assert (found.width, found.height) == size
    for heat in found.maps:
        assert np.isfinite(heat.scores).all()
        assert min(heat.scores.shape) == 32


def test_the_bundled_model_sees_each_object_where_it_is(pair: Path, demo_encoder: Encoder) -> None:
    places = scenes.boxes(scenes.pair("red star", "blue circle", random.Random(3)), 256)
    found = zs.look(pair, ["a red star", "a blue circle"], demo_encoder)
    assert found.reason is not None
    for heat, (left, top, right, bottom) in zip(found.maps, places, strict=True):
        rows, columns = heat.scores.shape
        inside = heat.scores[round(top * rows) : round(bottom * rows), round(left * columns) : round(right * columns)]
        assert inside.mean() > heat.scores.mean()


def test_a_drawing_has_a_panel_for_each_text_and_replaces_only_drawings(pair: Path, tmp_path: Path) -> None:
    found = zs.look(pair, ["a red star", "a blue circle", "x" * 400], ENCODER)
    out = tmp_path / "heat.png"
    zs.write_heat_map(found, out)
    with Image.open(out) as drawn:
        assert drawn.width > 3 * 320
        assert drawn.height > 320
        colours = drawn.convert("RGB").getcolors(1 << 24)
        assert colours is not None
        assert len(colours) > 1000
    zs.write_heat_map(zs.look(pair, "a", ENCODER), out)
    with Image.open(out) as drawn:
        assert drawn.width < 2 * 320
    assert [path.name for path in tmp_path.iterdir()] == ["heat.png"]
    other = tmp_path / "photo.png"
    Image.new("RGB", (3, 3)).save(other)
    before = other.read_bytes()
    for path, error in ((other, zs.OutputExistsError), (tmp_path / "heat.jpg", zs.SourceError)):
        with pytest.raises(error):
            zs.write_heat_map(found, path)
    assert other.read_bytes() == before


def test_wrong_input_is_refused_before_a_model_is_loaded(pair: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no")
    for image, texts, options, words in [
        (pair, [], {}, "no text"),
        (pair, [" "], {}, "no text"),
        (pair, ["a"], {"method": "magic"}, "not a method"),
        (pair, ["a"], {"tiles": "pyramid:9"}, "does not name regions"),
        (tmp_path / "missing.png", ["a"], {}, "missing.png' cannot be used"),
        (broken, ["a"], {}, "not a readable image"),
    ]:
        with pytest.raises(zs.ZsRetrieveError, match=words):
            zs.look(image, texts, NEVER, **options)


def test_the_command_draws_and_prints(run_cli: Run, pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat.png"
    words = ("look", pair, "a red star", "a blue circle", "--model", "demo", "--method", "tiles")
    done = run_cli(*words, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "a red star" in done.stdout
    assert f"heat map -> {out}" in done.stderr
    assert out.stat().st_size > 10_000
    done = run_cli(*words, "--format", "json", "--tiles", "pyramid:2")
    answer = json.loads(done.stdout)
    assert (answer["method"], answer["reason"], len(answer["maps"])) == ("tiles", None, 2)
    refused = run_cli("look", pair, "a", "--model", "demo", "--out", tmp_path / "heat.gif")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "must be named .png" in refused.stderr
