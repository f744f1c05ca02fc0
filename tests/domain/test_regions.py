"""Pyramids of tiles, and squares that cover an image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.heat import HeatMap, windows
from zsretrieve.domain.regions import Pyramid, boxes_of, seen


@pytest.mark.parametrize(("spec", "number"), [("pyramid:2", 9), ("pyramid:3", 34), ("pyramid:4", 83)])
def test_a_pyramid_has_as_many_tiles_as_its_levels(spec: str, number: int) -> None:
    pyramid = Pyramid.of(spec)
    boxes = np.array(pyramid.boxes)
    assert (pyramid.spec, len(boxes)) == (spec, number)
    assert len({*map(tuple, boxes)}) == number
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    for level in range(2, pyramid.levels + 1):
        of_level = boxes[np.isclose(boxes[:, 2] - boxes[:, 0], 1 / level)]
        assert len(of_level) == (2 * level - 1) ** 2
        np.testing.assert_allclose(np.diff(np.unique(of_level[:, 0].round(9))), 1 / (2 * level))


def test_the_tiles_of_the_second_level_are_halves_a_quarter_apart() -> None:
    quarters = (0, 0.25, 0.5)
    assert boxes_of("pyramid:2") == tuple((x, y, x + 0.5, y + 0.5) for y in quarters for x in quarters)
    assert boxes_of(None) == ()


@pytest.mark.parametrize(
    "spec", ["", "pyramid", "pyramid:", "pyramid:1", "pyramid:5", "pyramid:2.0", "grid:3", "PYRAMID:2"]
)
def test_other_texts_name_no_regions(spec: str) -> None:
    with pytest.raises(UsageError, match="does not name regions") as caught:
        Pyramid.of(spec)
    assert "pyramid:2" in str(caught.value.hint)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 4))
def test_windows_are_squares_that_cover_an_image(width: int, height: int, level: int) -> None:
    boxes = np.array(windows(width, height, level)) * [width, height, width, height]
    side = min(width, height) / level
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], side)
    for axis, length in ((0, width), (1, height)):
        starts = np.unique(boxes[:, axis].round(6))
        assert starts[0] == 0
        np.testing.assert_allclose(starts[-1] + side, length, atol=1e-4)
        assert (np.diff(starts) <= side / 2 + 1e-4).all()


@given(st.integers(1, 900), st.integers(1, 900), st.integers(2, 4))
def test_squares_of_tiles_reach_all_edges(width: int, height: int, levels: int) -> None:
    """And leave gaps exactly where it is said so."""
    pyramid = Pyramid(levels)
    smallest = np.array(pyramid.boxes[-((2 * levels - 1) ** 2) :])
    squares = np.array([seen(tuple(box), width, height) for box in smallest])
    assert (squares[:, :2] >= smallest[:, :2] - 1e-9).all()
    assert (squares[:, 2:] <= smallest[:, 2:] + 1e-9).all()
    squares *= [width, height, width, height]
    side = min(width, height) / levels
    np.testing.assert_allclose(squares[:, 2:] - squares[:, :2], side)
    gaps = []
    for axis, length in ((0, width), (1, height)):
        starts = np.unique(squares[:, axis].round(6))
        np.testing.assert_allclose([starts[0], starts[-1] + side], [0, length], atol=1e-4)
        gaps.append(np.diff(starts).max())
    assert pyramid.reaches_all(width, height) is bool(max(gaps) <= side + 1e-4)


def test_windows_of_a_square_are_the_tiles_of_a_pyramid() -> None:
    tiles = [box for level in (2, 3) for box in windows(120, 120, level)]
    np.testing.assert_allclose(tiles, Pyramid(3).boxes)


def test_a_heat_map_knows_its_range_and_its_peak() -> None:
    scores = np.array([[0.1, 0.2, 0.0], [0.3, 0.7, 0.1]], np.float32)
    made = HeatMap("a star", scores)
    assert made.to_dict() == {
        "text": "a star", "low": 0.0, "high": 0.7, "peak": [0.5, 0.75], "scores": [[0.1, 0.2, 0.0], [0.3, 0.7, 0.1]],
    }  # fmt: skip
