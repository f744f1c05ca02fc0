"""Images with their captions, and how they are divided into batches."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.model_training import Schedule
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.vectors import Rows

# More held-out images make a measurement slow and hardly more precise.
_MOST_HELD_OUT = 5000
# Streams of random numbers of one seed.
_SPLIT, _EPOCH = 0, 1


@dataclass(frozen=True)
class Pairs:
    """Images with captions: those of image i are ``captions[j]`` for the j of ``of_image[i]``.

    ``rows`` are the rows of the images in their gallery, or their places in their source, int64 of shape (n,);
    ``captions`` are distinct.
    """

    rows: Rows
    captions: tuple[str, ...]
    of_image: tuple[NDArray[np.int64], ...]
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of(cls, captions: Mapping[int, Sequence[str]], skipped: Sequence[Skipped] = ()) -> Pairs:
        """Pairs from the captions of each row. Raises SourceError unless two different captions occur."""
        numbers: dict[str, int] = {}
        of_image = [
            np.array(list(dict.fromkeys(numbers.setdefault(text, len(numbers)) for text in texts)), dtype=np.int64)
            for texts in captions.values()
        ]
        if len(numbers) < 2:
            problem = "all images have the same caption" if numbers else "no image has a caption"
            raise SourceError(f"{problem}, so there is nothing to learn", hint="Give images with different captions.")
        return cls(np.array(list(captions), dtype=np.int64), tuple(numbers), tuple(of_image), tuple(skipped))

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, settings: Schedule) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The images to train on and those held out, int64 each, at random by the seed.

        Raises SourceError if fewer than two are left to train on.
        """
        order = np.random.default_rng([settings.seed, _SPLIT]).permutation(len(self))
        held_out = min(_MOST_HELD_OUT, round(settings.held_out * len(self)))
        if len(self) - held_out < 2:
            raise SourceError(
                f"{len(self)} images with captions are too few to train on", hint="Give more, or a lower `held_out`."
            )
        return np.sort(order[held_out:]), np.sort(order[:held_out])

    def batch(self, step: int, images: NDArray[np.int64], settings: Schedule) -> Batch:
        """The batch of a step, see ``numbered``, with the rows of the images."""
        numbered = self.numbered(step, images, settings)
        return Batch(self.rows[numbered.rows], numbered.captions)

    def numbered(self, step: int, images: NDArray[np.int64], settings: Schedule) -> Batch:
        """The batch of a step, whatever came before it: the images of an epoch in a random order, each with one of its
        captions drawn at random. Its rows are the numbers of the images here.
        """
        size = min(settings.batch_size, len(images))
        epoch, place = divmod(step, settings.batches_per_epoch(len(images)))
        order, draws = _epoch(len(images), settings.seed, epoch)
        chosen = order[place * size : (place + 1) * size]
        drawn = [_one(self.of_image[images[number]], draws[number]) for number in chosen]
        return Batch(images[chosen], np.array(drawn, dtype=np.int64))


@dataclass(frozen=True)
class Batch:
    """Rows of images and a caption for each, int64 of shape (n,): its number in ``Pairs.captions``."""

    rows: Rows
    captions: NDArray[np.int64]

    @property
    def same(self) -> NDArray[np.bool_]:
        """Where captions are equal, bool of shape (n, n)."""
        equal: NDArray[np.bool_] = self.captions[:, None] == self.captions[None, :]
        return equal


@functools.lru_cache(maxsize=1)
def _epoch(n: int, seed: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The order of n images in an epoch, and for each image what draws its caption, from 0 to 1."""
    rng = np.random.default_rng([seed, _EPOCH, epoch])
    return rng.permutation(n), rng.random(n)


def _one(captions: NDArray[np.int64], draw: float) -> int:
    return int(captions[int(draw * len(captions))])
