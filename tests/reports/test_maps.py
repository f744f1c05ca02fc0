"""The plot of a map: valid SVG with a dot for each image, whatever its labels are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError

SVG = "{http://www.w3.org/2000/svg}"


def map_of(xy: np.ndarray, labels: tuple[str | None, ...]) -> zs.Map:
    return zs.Map(np.arange(len(xy)), xy.astype(np.float32), 1, "t-SNE", 0, labels)


def drawn(made: zs.Map, folder: Path) -> ET.Element:
    zs.plot_map(made, folder / "map.svg")
    return ET.fromstring((folder / "map.svg").read_text(encoding="utf-8"))


def dots(path: ET.Element) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h0", path.attrib["d"])]


def test_each_label_has_a_colour_its_dots_and_a_caption(tmp_path: Path) -> None:
    xy = np.array([[0, 0], [0, 0.1], [1, 1], [0.5, 0.5]])
    svg = drawn(map_of(xy, ("a <b> & c", "a <b> & c", "d\x00e", None)), tmp_path)
    paths = svg.findall(f"{SVG}path")
    assert [path.findtext(f"{SVG}title") for path in paths] == [None, "a <b> & c", "d e"]
    assert len({path.attrib["stroke"] for path in paths}) == 3
    # y is upwards on the map and downwards in SVG.
    assert [dots(path) for path in paths] == [[(540, 540)], [(40, 940), (40, 1040)], [(1040, 40)]]
    assert [text.text for text in svg.findall(f"{SVG}text")] == ["a <b> & c", "d e"]


def test_captions_do_not_cover_each_other(tmp_path: Path) -> None:
    xy = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.501], [0.1, 0.1]])
    svg = drawn(map_of(xy, ("many", "many", "hidden", "elsewhere")), tmp_path)
    assert [text.text for text in svg.findall(f"{SVG}text")] == ["many", "elsewhere"]


def test_a_large_map_is_a_small_file(tmp_path: Path) -> None:
    xy = np.random.default_rng(0).normal(0.5, 0.02, (200_000, 2)).clip(0, 1)
    svg = drawn(map_of(xy, (None,) * len(xy)), tmp_path)
    assert len(dots(svg.findall(f"{SVG}path")[0])) < 40_000
    assert (tmp_path / "map.svg").stat().st_size < 500_000


@pytest.mark.parametrize(
    ("name", "message"),
    [("map.png", r"must be named \.svg, not 'map\.png'"), ("none/map.svg", "no such folder"), ("", "must be named")],
)
def test_a_file_that_cannot_be_a_plot_is_refused_at_once(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        zs.check_map_plot(tmp_path / name)


def test_a_system_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(SourceError, match="No space left"):
        zs.plot_map(map_of(np.zeros((1, 2)), (None,)), tmp_path / "map.svg")
