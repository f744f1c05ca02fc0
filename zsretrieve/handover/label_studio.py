"""Label Studio's tasks with predictions (https://labelstud.io/guide/predictions), and the labelling setup for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from zsretrieve.domain.annotations import AnnotatedImage, Annotation, Annotations
from zsretrieve.handover.texts import attributes, json_lines, xml_classes
from zsretrieve.images import opening

TASKS, SETUP = "tasks.json", "config.xml"
_LOCAL = "/data/local-files/?d="
_CONTROL, _IMAGE = "label", "image"


def files(annotations: Annotations, names: Sequence[str], urls: Sequence[str]) -> Mapping[str, str]:
    """The tasks, which show the images at ``urls``, and the setup. Raises SourceError, see ``xml_classes``."""
    tasks = [
        {
            "data": {"image": url, "path": name, **({"rejected": True} if image.rejected else {})},
            "predictions": [_prediction(annotations, image)] if image.annotations else [],
        }
        for image, name, url in zip(annotations.images, names, urls, strict=True)
    ]
    return {TASKS: json_lines(tasks) + "\n", SETUP: _setup(annotations)}


def local_url(path: str) -> str:
    """Where Label Studio shows a file of its own machine, if its document root is ``/``."""
    return f"{_LOCAL}{quoted(path.lstrip('/'))}"


def address(path: str, name: str, *, is_here: bool) -> str:
    """What a task shows: on this machine a URL as it is, and a file by ``local_url``; else ``name``, relative."""
    if not is_here or opening.split(path) is not None:
        return quoted(name)
    return path if opening.is_url(path) else local_url(os.path.abspath(path))


def quoted(path: str) -> str:
    """A path as part of a URL."""
    return quote(os.fsencode(path))


def _setup(annotations: Annotations) -> str:
    boxes = annotations.has_boxes
    control, entry = ("RectangleLabels", "Label") if boxes else ("Choices", "Choice")
    of_control = {"name": _CONTROL, "toName": _IMAGE, **({} if boxes else {"choice": "single"})}
    entries = (f"    <{entry}{attributes({'value': name})}/>" for name in xml_classes(annotations.class_names))
    return "\n".join(
        [
            "<View>",
            f'  <Image name="{_IMAGE}" value="$image"/>',
            f"  <{control}{attributes(of_control)}>",
            *entries,
            f"  </{control}>",
            "</View>",
            "",
        ]
    )


def _prediction(annotations: Annotations, image: AnnotatedImage) -> dict[str, Any]:
    known = [one.confidence for one in image.annotations if one.confidence is not None]
    score = {"score": sum(known) / len(known)} if known else {}
    results = [
        {"id": str(number), "from_name": _CONTROL, "to_name": _IMAGE, **_result(image, one, annotations.name_of(one))}
        for number, one in enumerate(image.annotations, 1)
    ]
    return {"model_version": annotations.model or "zsretrieve", **score, "result": results}


def _result(image: AnnotatedImage, annotation: Annotation, class_name: str) -> dict[str, Any]:
    score = {} if annotation.confidence is None else {"score": annotation.confidence}
    if annotation.box is None:
        return {"type": "choices", "value": {"choices": [class_name]}, **score}
    left, top, right, bottom = (100 * share for share in annotation.box)
    value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    return {
        "type": "rectanglelabels",
        "value": {**value, "rectanglelabels": [class_name]},
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        **score,
    }
