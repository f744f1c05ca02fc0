"""Average precision of detections, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of its IoU thresholds, which go from 0.5 to 0.95 in steps of 0.05.
_AT_50, _AT_75 = 0, 5


def average_precision(
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    truth: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
) -> NDArray[np.float64]:
    """COCO's average precision of each category, for objects of all sizes and at most 100 boxes per image and category.

    Lin et al. 2014, Microsoft COCO: Common Objects in Context, and the evaluation of its challenge: precision at 101
    recalls from 0 to 1, each the best at this recall or a higher one, and averaged; groups (``iscrowd``) are ignored.

    Parameters
    ----------
    image_ids, category_ids : sequence of int
        What is compared.
    truth : sequence of mappings
        Annotations as COCO's files have them: ``image_id``, ``category_id``, ``bbox`` and ``iscrowd``.
    found : sequence of mappings
        The same with a ``score``, without ``iscrowd``.

    Returns
    -------
    float64 of shape (n_categories, 3)
        The mean over IoU from 0.5 to 0.95, and at 0.5 and 0.75; NaN for a category without an object. The average
        precision of all is the mean of those of the categories that have one.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    images, categories = [{"id": one} for one in image_ids], [{"id": one} for one in category_ids]
    objects = COCO()
    # Numbered from 1: an object with the number 0 would count as not found.
    objects.dataset = {
        "images": images,
        "categories": categories,
        "annotations": [
            {**one, "area": one["bbox"][2] * one["bbox"][3], "id": number} for number, one in enumerate(truth, start=1)
        ],
    }
    objects.createIndex()
    evaluation = COCOeval_faster(objects, objects.loadRes([dict(one) for one in found]), "bbox")
    evaluation.params.imgIds, evaluation.params.catIds = list(image_ids), list(category_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    # By IoU, recall, category, size and number of boxes; -1 where there is no object.
    precision = np.asarray(evaluation.eval["precision"], dtype=np.float64)[:, :, :, 0, -1]
    order = np.argsort(np.argsort(category_ids, kind="stable"), kind="stable")  # it sorts the categories
    by_iou = np.where(precision[0, 0] < 0, np.nan, precision.mean(axis=1))[:, order]
    return np.stack([by_iou.mean(axis=0), by_iou[_AT_50], by_iou[_AT_75]], axis=1)
