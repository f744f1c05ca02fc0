"""Batches of images and captions for open_clip's trainer, the same ones in whatever process and after any stop."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from zsretrieve.domain.errors import ImageError
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode
from zsretrieve.training.job import ImageJob, JobFolder
from zsretrieve.training.pairs import Batch

# What the trainer says if there is nothing to train on; workers add where they found that out.
NONE_READABLE = "no image can be read"


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images by (number in the job's pairs, what seeds its random crop), each with the number that it has.

    One that cannot be read is noted, and the next of ``among`` takes its place: numbers in the pairs, ascending.
    """

    def __init__(self, job: ImageJob, folder: JobFolder, transform: Any, among: NDArray[np.int64]) -> None:
        self._job, self._folder, self._transform, self._among = job, folder, transform, among
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
            with _seeded(seed):
                return self._transform(image), taken
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
    transform: Any
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
            batches, shares, loader(Images(job, self.folder, self.transform, job.images), shares, job), strict=True
        ):
            captions = batch.captions.copy()
            mine = self._slice(len(captions))
            # Another image in place of one that cannot be read has captions of its own.
            for place, ((number, _), got) in enumerate(zip(share, taken.tolist(), strict=True)):
                if got != number:
                    captions[mine.start + place] = job.pairs.of_image[got][0]
            self.captions = torch.from_numpy(captions[mine])
            yield images, self.tokens[self.captions].long()

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
    )  # fmt: skip


def transform(config: Any, *, crop: float | None = None) -> Any:
    """How images are prepared by open_clip: as for encoding, or with random crops of at least so much for training."""
    if crop is None:
        return open_clip.transform.image_transform_v2(config, is_train=False)
    return open_clip.transform.image_transform_v2(config, is_train=True, aug_cfg={"scale": (crop, 1.0)})


def vectors_of(
    model: Any, images: Images, numbers: NDArray[np.int64], job: ImageJob
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The numbers of the images that can be read, and their vectors by a model in evaluation mode: float32 of shape
    (n, dim), unit rows.
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


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch and Python from a seed, without effect on what is drawn afterwards."""
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
