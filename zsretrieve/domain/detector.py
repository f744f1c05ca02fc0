"""What is needed of a model that finds objects in images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.ports import Pixels, PromptEncoder
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.vectors import Vectors

if TYPE_CHECKING:
    from PIL import Image


class Detector(PromptEncoder, Protocol):
    """A model that finds the boxes of objects by vectors of texts or of other objects."""

    @property
    def encoding(self) -> Encoding: ...

    @property
    def batch_size(self) -> int:
        """The preferred number of images per batch."""
        ...

    def prepare(self, image: Image.Image) -> Pixels:
        """See ``Encoder.prepare``."""
        ...

    def encode_example(self, image: Image.Image, box: Box | None) -> tuple[Vectors, Box]:
        """The vector of an object in an image, float32 of shape (dim,), a unit row, and the box that the model sees it
        in. Boxes are shares of the image, or of the square to which it is padded.

        Without a box, the model chooses the object in the whole image.

        Raises
        ------
        QueryError
            If none of the boxes that the model sees overlaps ``box``.
        """
        ...

    def detect(self, batch: Sequence[Pixels], queries: Vectors) -> list[NDArray[np.float32]]:
        """What each part of each prepared image may show.

        Parameters
        ----------
        batch : sequence of Pixels
        queries : float32 of shape (n_classes, dim), unit rows

        Returns
        -------
        list of float32 of shape (n_parts, 6)
            The likeliest class, its score from 0 to 1, and the left, top, right and bottom of the box, in shares as for
            ``encode_example``. Boxes may reach beyond the image.
        """
        ...
