"""What a detector looks for: classes by prompts, or objects like those of examples."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zsretrieve.domain.boxes import in_pixels
from zsretrieve.domain.detections import Example
from zsretrieve.domain.detector import Detector
from zsretrieve.domain.errors import ImageError, QueryError
from zsretrieve.domain.pooling import pool_prompts
from zsretrieve.domain.prompts import prompt_digest
from zsretrieve.domain.records import PromptSet
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.encoding.batches import encode_texts_once
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode, own_pixel_limit

_log = logging.getLogger("zsretrieve")

_SHOWN = 3


@dataclass(frozen=True)
class Queries:
    """The classes to look for. ``encode`` makes their vectors, float32 of shape (n_classes, dim), unit rows; ``digest``
    is that of all that they depend on besides the detector.
    """

    class_names: tuple[str, ...]
    digest: str
    encode: Callable[[Detector], Vectors]


def of_prompts(prompts: PromptSet) -> Queries:
    """Classes by their prompts, whose unit vectors are pooled as those of prototypes are."""

    def encode(detector: Detector) -> Vectors:
        texts = encode_texts_once(detector, prompts.prompts)
        if texts.cut:
            are = counted(len(texts.cut), "prompt is", "prompts are")
            context = detector.space.text.context_length
            _log.info(f"{are} longer than the model's {context} tokens and cut: {shorten(texts.cut, _SHOWN)}")
        return pool_prompts(texts.vectors, texts.rows)

    return Queries(prompts.class_names, prompt_digest(prompts), encode)


def of_examples(examples: Sequence[Example], reading: Reading, *, pads: bool) -> Queries:
    """Objects like those of examples, whose images are read now.

    Parameters
    ----------
    examples : sequence of Example
    reading : Reading
    pads : bool
        Whether the detector pads images, see ``DetectorName``.

    Raises
    ------
    QueryError
        If there is no example, an image cannot be read, or a box is not inside its image.
    """
    if not examples:
        raise QueryError("there is no example", hint="Give an image with a box: photo.jpg[10,20,64,48].")
    described, shown = [], []
    for example in examples:
        address = os.fspath(example.image)
        try:
            content = opening.read(address)
            with own_pixel_limit():
                decoded = decode(content, reading)
        except ImageError as error:
            raise QueryError(
                f"the example '{address}' cannot be read: {error.message}", hint="Check the path and the image."
            ) from error
        shown.append((example, decoded.image, example.shares(decoded.width, decoded.height)))
        described.append([content.digest, example.box])

    def encode(detector: Detector) -> Vectors:
        vectors = []
        for example, image, box in shown:
            sides = np.array([image.width, image.height] * 2)
            padded = sides / max(image.size) if pads else np.ones(4)
            given = None if box is None else tuple((np.array(box) * padded).tolist())
            vector, seen = detector.encode_example(image, given)
            left, top, right, bottom = (np.array(seen) / padded).tolist()
            edges = in_pixels((left, top, right, bottom), image.width, image.height)
            _log.info(f"the object of '{example.label}': {', '.join(f'{edge:.0f}' for edge in edges)}")
            vectors.append(vector)
        return np.stack(vectors)

    digest = hashlib.sha256(json.dumps([described, reading.exif]).encode()).hexdigest()
    return Queries(tuple(example.label for example in examples), digest, encode)
