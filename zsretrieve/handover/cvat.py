"""CVAT's XML for images, version 1.1 (https://docs.cvat.ai/docs/manual/advanced/xml_format/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from zsretrieve.domain.annotations import AnnotatedImage, Annotation, Annotations
from zsretrieve.handover.texts import attributes, xml_classes
from zsretrieve.system.atomic import begins_with

_SOURCE = "<source>zsretrieve</source>"
_CONFIDENCE = "confidence"


def text(annotations: Annotations, names: Sequence[str]) -> str:
    """The whole file; ``names`` are the images' names in the task. Raises SourceError, see ``xml_classes``."""
    return "".join(f"{line}\n" for line in _lines(annotations, names))


def is_ours(file: Path) -> bool:
    """Whether a file begins as ``text`` does."""
    return begins_with(file, _SOURCE.encode(), 200)


def _lines(annotations: Annotations, names: Sequence[str]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations>"
    yield "<version>1.1</version>"
    yield f"<meta>{_SOURCE}<task><size>{len(names)}</size><mode>annotation</mode><labels>"
    spec = f"<name>{_CONFIDENCE}</name><mutable>False</mutable><input_type>text</input_type>"
    for name in xml_classes(annotations.class_names):
        yield (
            f"<label><name>{escape(name)}</name><attributes><attribute>{spec}<default_value></default_value>"
            "<values></values></attribute></attributes></label>"
        )
    yield "</labels></task></meta>"
    for number, (image, name) in enumerate(zip(annotations.images, names, strict=True)):
        size = {"id": number, "name": name, "width": image.width, "height": image.height}
        yield f"<image{attributes(size)}>"
        for one in image.annotations:
            yield _element(image, one, annotations.name_of(one))
        yield "</image>"
    yield "</annotations>"


def _element(image: AnnotatedImage, annotation: Annotation, class_name: str) -> str:
    values: dict[str, str | int] = {"label": class_name, "source": "auto"}
    tag = "tag"
    if annotation.box is not None:
        tag, sides = "box", (image.width, image.height) * 2
        ends = {
            name: f"{share * side:.3f}"
            for name, share, side in zip(("xtl", "ytl", "xbr", "ybr"), annotation.box, sides, strict=True)
        }
        values |= {"occluded": 0, **ends, "z_order": 0}
    known = annotation.confidence
    inside = "" if known is None else f'<attribute name="{_CONFIDENCE}">{known:.4f}</attribute>'
    return f"<{tag}{attributes(values)}>{inside}</{tag}>"
