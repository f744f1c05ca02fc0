"""Batches of images and captions for open_clip's trainer, the same ones in whatever process and after any stop."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from zsretrieve.domain.errors import ImageError
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode
from zsretrieve.training.job import ImageJob, JobFolder
from zsretrieve.training.pairs import Batch

# What the trainer says if there is nothing to train on; workers add where they found that out.
NONE_READABLE = "no image can be read"
# The least and the greatest width of a crop by its height, and how often one is drawn.
_SHAPES, _TRIES = (3 / 4, 4 / 3), 10
_FILTERS = {"bilinear": Image.Resampling.BILINEAR}

# Makes the pixels that a model is shown of an image; what is random in it is drawn from the second.
Prepare = Callable[[Image.Image, random.Random], torch.Tensor]


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images by (number in the job's pairs, what seeds its random crop), each with the number that it has.

    One that cannot be read is noted, and the next of ``among`` takes its place: numbers in the pairs, ascending.
    """

    def __init__(self, job: ImageJob, folder: JobFolder, prepare: Prepare, among: NDArray[np.int64]) -> None:
        self._job, self._folder, self._prepare, self._among = job, folder, prepare, among
        self._noted: set[str] = set()

    def __getitem__(self, wanted: tuple[int, int]) -> tuple[torch.Tensor, int]:
        number, seed = wanted
        job = self._job
        first = int(np.searchsorted(self._among, number))
        for place in range(first, first + len(self._among)):
            taken = int(self._among[place % len(self._among)])
            file = job.source.files[job.pairs.rows[taken]]
            try:
                image = decode(opening.read(job.source.address(file)), job.reading).image
            except ImageError as error:
                self._note(file.path, error.message)
                continue
            return self._prepare(image, random.Random(seed)), taken
        raise ImageError(NONE_READABLE)

    def _note(self, path: str, reason: str) -> None:
        if path in self._noted:
            return
        self._noted.add(path)
        # One write of a short line does not mix with those of other processes.
        with open(self._folder.skipped, "a", encoding="utf-8") as file:
            file.write(json.dumps([path, reason]) + "\n")


@dataclass
class TrainingBatches:
    """What open_clip's trainer takes as data: the batches of one round, of which each process has its share.

    ``captions`` are those of the batch that was given out last, in all processes: their numbers in the pairs.
    """

    job: ImageJob
    folder: JobFolder
    tokens: torch.Tensor
    crop: Crop
    rank: int = 0
    world: int = 1
    captions: torch.Tensor | None = None
    _round: int = 0

    @property
    def dataloader(self) -> TrainingBatches:
        return self

    @property
    def num_samples(self) -> int:
        return len(self.job.images)

    @property
    def num_batches(self) -> int:
        return self.job.steps_per_round

    def set_epoch(self, number: int) -> None:
        self._round = number

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        job = self.job
        first = self._round * job.steps_per_round
        steps = range(first, min(job.steps, first + job.steps_per_round))
        batches = [job.pairs.numbered(step, job.images, job.settings) for step in steps]
        shares = [self._share(step, batch) for step, batch in zip(steps, batches, strict=True)]
        for batch, share, (images, taken) in zip(
            batches, shares, loader(Images(job, self.folder, self.crop, job.images), shares, job), strict=True
        ):
            captions = batch.captions.copy()
            mine = self._slice(len(captions))
            # Another image in place of one that cannot be read has captions of its own.
            for place, ((number, _), got) in enumerate(zip(share, taken.tolist(), strict=True)):
                if got != number:
                    captions[mine.start + place] = job.pairs.of_image[got][0]
            self.captions = torch.from_numpy(captions[mine])
            is_cuda = job.device.startswith("cuda")
            device = torch.device("cuda", torch.cuda.current_device()) if is_cuda else torch.device(job.device)
            yield self.crop.scaled(images.to(device)), self.tokens[self.captions].long()

    def _share(self, step: int, batch: Batch) -> list[tuple[int, int]]:
        seed = self.job.settings.seed
        numbers = batch.rows.tolist()
        part = self._slice(len(numbers))
        return [
            (number, hash((seed, step, place)) & 0x7FFFFFFF)
            for place, number in zip(range(part.start, part.stop), numbers[part], strict=True)
        ]

    def _slice(self, count: int) -> slice:
        each = count // self.world
        return slice(self.rank * each, (self.rank + 1) * each)


def loader(images: Images, batches: list[list[tuple[int, int]]], job: ImageJob) -> Any:
    """Batches of images, decoded by the job's workers."""
    return DataLoader(
        images, batch_sampler=batches, num_workers=job.settings.workers, pin_memory=job.device.startswith("cuda")
    )


@dataclass(frozen=True)
class Crop:
    """Random crops for training, as torchvision's ``RandomResizedCrop`` draws them for open_clip: of at least a share
    ``least`` of the image, with sides from 3:4 to 4:3.

    ``config`` is open_clip's ``PreprocessCfg``.
    """

    config: Any
    least: float

    def __call__(self, image: Image.Image, rng: random.Random) -> torch.Tensor:
        """A crop, squashed to the model's size: uint8 of shape (3, height, width)."""
        left, top, width, height = _drawn(image.width, image.height, self.least, rng)
        size = self.config.size
        rows, columns = (size, size) if isinstance(size, int) else size
        how = _FILTERS.get(self.config.interpolation, Image.Resampling.BICUBIC)
        small = image.convert("RGB").resize((columns, rows), how, box=(left, top, left + width, top + height))
        return torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())

    def scaled(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops as the model takes them: float32 of shape (n, 3, height, width)."""
        mean, std = (
            torch.tensor(one, device=crops.device).view(3, 1, 1) for one in (self.config.mean, self.config.std)
        )
        return crops.float().div_(255).sub_(mean).div_(std)


def _drawn(width: int, height: int, least: float, rng: random.Random) -> tuple[int, int, int, int]:
    """Left, top, width and height of a random crop; of an image that has none of such a shape, the largest middle."""
    low, high = _SHAPES
    for _ in range(_TRIES):
        area = width * height * rng.uniform(least, 1)
        shape = math.exp(rng.uniform(math.log(low), math.log(high)))
        across, down = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < across <= width and 0 < down <= height:
            return rng.randint(0, width - across), rng.randint(0, height - down), across, down
    across, down = min(width, round(height * high)), min(height, round(width / low))
    return (width - across) // 2, (height - down) // 2, across, down


class Whole:
    """How open_clip prepares images for encoding, by its ``PreprocessCfg``."""

    def __init__(self, config: Any) -> None:
        self._transform = open_clip.transform.image_transform_v2(config, is_train=False)

    def __call__(self, image: Image.Image, _: random.Random) -> torch.Tensor:
        """float32 of shape (3, height, width)."""
        pixels: torch.Tensor = self._transform(image)
        return pixels


def vectors_of(
    model: Any, images: Images, numbers: NDArray[np.int64], job: ImageJob
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The numbers of the images that can be read, and their vectors by a model in evaluation mode: float32 of shape
    (n, dim), unit rows. Raises ImageError if none can.
    """
    size = job.settings.batch_size
    cuts = range(0, len(numbers), size)
    batches = [[(number, 0) for number in numbers[start : start + size].tolist()] for start in cuts]
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [
            (taken, model.encode_image(pixels.to(device), normalize=True).float().cpu())
            for pixels, taken in loader(images, batches, job)
        ]
    taken, vectors = (torch.cat(several).numpy() for several in zip(*parts, strict=True))
    is_own = taken == numbers
    return numbers[is_own], vectors[is_own]
