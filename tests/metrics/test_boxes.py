"""Average precision: a case computed by hand, and the library called as its guide does."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from zsretrieve.metrics.boxes import average_precision

# 101 recalls from 0 to 1, of which 51 are at most a half.
HALF, REST = 51 / 101, 50 / 101


def box(left: float, score: float | None = None, *, image: int = 1, category: int = 7, width: float = 10) -> Any:
    row = {"image_id": image, "category_id": category, "bbox": [left, 0, width, 10]}
    return row | ({"iscrowd": 0} if score is None else {"score": score})


def test_a_case_by_hand() -> None:
    """Right, wrong, right: precision 1 up to recall 1/2 and 2/3 up to recall 1. The second overlaps by 0.6 only."""
    truth = [box(0), box(100)]
    found = [box(0, 0.9), box(50, 0.8), box(100, 0.7, width=6)]
    whole, half = HALF + REST * 2 / 3, HALF
    ap, ap50, ap75 = average_precision([1], [7], truth, found)[0]
    assert ap50 == pytest.approx(whole)
    assert ap75 == pytest.approx(half)
    assert ap == pytest.approx((3 * whole + 7 * half) / 10)  # 0.5, 0.55 and 0.6 of ten thresholds


def test_categories_in_any_order_and_without_objects() -> None:
    truth = [box(0, category=2), box(0, image=5, category=9)]
    found = [box(0, 0.9, category=2), box(50, 0.9, image=5, category=9)]
    figures = average_precision([5, 1], [9, 4, 2], truth, found)
    assert figures[0].tolist() == [0, 0, 0]
    assert np.isnan(figures[1]).all()
    assert figures[2].tolist() == pytest.approx([1, 1, 1])


def test_groups_are_ignored() -> None:
    truth = [box(0), box(100) | {"iscrowd": 1}]
    figures = average_precision([1], [7], truth, [box(100, 0.9, width=5), box(0, 0.8)])
    assert figures[0].tolist() == pytest.approx([1, 1, 1])


def test_nothing_found() -> None:
    assert average_precision([1], [7], [box(0)], [])[0].tolist() == [0, 0, 0]


def test_as_the_library_computes_it() -> None:
    from faster_coco_eval import COCO, COCOeval_faster

    rng = np.random.default_rng(0)
    images, categories = list(range(1, 21)), [3, 1, 8]

    def boxes(n: int) -> list[dict[str, Any]]:
        edges = np.column_stack([rng.uniform(0, 100, (n, 2)), rng.uniform(10, 60, (n, 2))])
        return [
            {
                "image_id": int(rng.choice(images)),
                "category_id": int(rng.choice(categories)),
                "bbox": edge.tolist(),
                "iscrowd": 0,
            }
            for edge in edges
        ]

    truth = boxes(150)
    # Half of what is found is near an object.
    near = [one | {"bbox": (np.array(one["bbox"]) + rng.normal(0, 3, 4)).tolist()} for one in truth[::2]]
    found = [one | {"score": float(rng.uniform())} for one in (*near, *boxes(80))]
    figures = average_precision(images, categories, truth, found)

    objects = COCO(
        {
            "images": [{"id": one, "width": 200, "height": 200} for one in images],
            "categories": [{"id": one, "name": str(one)} for one in categories],
            "annotations": [
                one | {"id": number, "area": one["bbox"][2] * one["bbox"][3]}
                for number, one in enumerate(truth, start=1)
            ],
        }
    )
    evaluation = COCOeval_faster(objects, objects.loadRes([dict(one) for one in found]), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.run()
    assert figures.mean(axis=0) == pytest.approx(evaluation.stats[:3])
    assert 0.05 < figures[:, 0].min() < figures[:, 1].max() < 0.95
