"""Rectangles in images, compared with torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, nms

from zsretrieve.domain.boxes import in_pixels, ious, suppressed


def drawn(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.random((n, 2)) * 0.7
    return np.concatenate([low, low + 0.05 + rng.random((n, 2)) * 0.25], axis=1)


def test_overlaps_are_those_of_torchvision() -> None:
    one, other = drawn(0, 30), drawn(1, 20)
    expected = box_iou(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    assert (expected > 0).any()
    np.testing.assert_allclose(ious(one, other), expected, atol=1e-12)


def test_empty_boxes_overlap_nothing() -> None:
    assert ious(np.zeros((1, 4)), np.zeros((1, 4))) == 0
    assert ious(np.zeros((0, 4)), drawn(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("most", [0.1, 0.5])
def test_suppression_keeps_what_torchvision_keeps(most: float) -> None:
    boxes = drawn(2, 200)
    scores = np.random.default_rng(3).random(200)
    kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores), most).tolist()
    assert 10 < len(kept) < 200
    assert suppressed([tuple(box) for box in boxes.tolist()], scores.tolist(), most) == kept


def test_of_equal_scores_the_earlier_box_stays() -> None:
    assert suppressed([(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.9)], [0.5, 0.5], 0.5) == [0]
    assert suppressed([], [], 0.5) == []


def test_a_box_in_pixels() -> None:
    assert in_pixels((0.25, 0.5, 0.75, 1.0), 200, 100) == (50, 50, 100, 50)
