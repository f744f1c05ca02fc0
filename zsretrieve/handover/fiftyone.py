"""FiftyOne's own JSON for image data sets.

``FiftyOneImageClassificationDataset`` and ``FiftyOneImageDetectionDataset``
(https://docs.voxel51.com/user_guide/import_datasets.html); a manifest names the images where they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from zsretrieve.domain.annotations import AnnotatedImage, Annotations
from zsretrieve.handover.texts import json_object

_MANIFEST, _LABELS = "data.json", "labels.json"


def files(annotations: Annotations, paths: Sequence[str]) -> Mapping[str, str]:
    """The manifest of the images at absolute ``paths``, and their labels."""
    # Not names: FiftyOne drops what it takes for a suffix.
    keys = [f"{number:08}" for number in range(len(paths))]
    labels = {
        key: _boxes(image) if annotations.has_boxes else _classes(image)
        for key, image in zip(keys, annotations.images, strict=True)
    }
    return {
        _MANIFEST: json.dumps(dict(zip(keys, paths, strict=True)), indent=0) + "\n",
        _LABELS: json_object({"classes": list(annotations.class_names), "labels": labels}),
    }


def _classes(image: AnnotatedImage) -> dict[str, Any] | None:
    return next((_label(one.class_id, one.confidence) for one in image.annotations), None)


def _boxes(image: AnnotatedImage) -> list[dict[str, Any]]:
    boxes = []
    for one in image.annotations:
        assert one.box is not None
        left, top, right, bottom = one.box
        sides = [left, top, right - left, bottom - top]
        boxes.append({**_label(one.class_id, one.confidence), "bounding_box": sides})
    return boxes


def _label(class_id: int, confidence: float | None) -> dict[str, Any]:
    return {"label": class_id, **({} if confidence is None else {"confidence": confidence})}
