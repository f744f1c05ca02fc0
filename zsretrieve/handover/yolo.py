"""The text files of YOLO (https://docs.ultralytics.com/datasets/detect/)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from zsretrieve.domain.annotations import Annotation, Annotations
from zsretrieve.handover.texts import yaml_text

# Beside each other: YOLO finds the labels of images/x.jpg in labels/x.txt.
IMAGES = "images"
_LABELS = "labels"
# The folder of the images to train on, with a folder for each class, where images have a class and no boxes.
TRAIN = "train"


def files(annotations: Annotations, names: Sequence[str]) -> Mapping[str, str]:
    """The description of the data set, and the boxes of the images by their names in the folder."""
    classes = "".join(f"  {number}: {yaml_text(name)}\n" for number, name in enumerate(annotations.class_names))
    labels = {
        f"{_LABELS}/{os.path.splitext(name)[0]}.txt": "".join(map(_line, image.annotations))
        for image, name in zip(annotations.images, names, strict=True)
    }
    return {"data.yaml": f"train: {IMAGES}\nval: {IMAGES}\nnames:\n{classes}", **labels}


def _line(annotation: Annotation) -> str:
    """Class, centre, width and height as shares; a sixth number would be taken for part of a polygon."""
    assert annotation.box is not None
    left, top, right, bottom = annotation.box
    sides = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return f"{annotation.class_id} {' '.join(f'{side:.6f}' for side in sides)}\n"
