"""A training on images, as it travels to the processes that do it, and the files in which they report how far they are.

All of it is in one folder, ``OUT/.training``, which several machines see if they train together.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.model_training import ImageTrainingSettings, Loss, TrainingPoint
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.catalog.model_name import ModelName
from zsretrieve.images.sources import Source
from zsretrieve.system.atomic import write_file
from zsretrieve.training.pairs import Pairs
from zsretrieve.training.place import JOB

# Set where the process that started the trainer holds a pipe to it, and ends it by closing that.
WATCHED = "ZSRETRIEVE_TRAINER_IS_WATCHED"
# The exit code of a trainer that could not write, which it may not be able to write down either.
DISK_IS_FULL = 28
# Checkpoints are written, and measurements made, so often at least and so often in all.
_MOST_STEPS, _MEASUREMENTS = 500, 20
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class ImageJob:
    """What is trained on what.

    ``pairs`` has places in ``source`` as rows. ``images`` are trained on and ``held_out`` measured, as numbers of
    ``pairs``. ``name`` is the model to begin with, or with ``settings.from_scratch`` the configuration to begin from.
    ``devices`` are those of this machine, and ``processes`` how many train on it. ``precision`` is open_clip's word for
    it. ``key`` identifies all that decides the steps.
    """

    key: str
    name: ModelName
    loss: Loss
    source: Source
    pairs: Pairs
    images: NDArray[np.int64]
    held_out: NDArray[np.int64]
    reading: Reading
    settings: ImageTrainingSettings
    devices: tuple[str, ...]
    processes: int
    precision: str

    @property
    def device(self) -> str:
        """The first device."""
        return self.devices[0]

    @property
    def steps(self) -> int:
        return self.settings.steps_for(len(self.images))

    @property
    def steps_per_round(self) -> int:
        """After each round there is a checkpoint."""
        return min(_MOST_STEPS, max(1, round(self.steps / _MEASUREMENTS)))

    @property
    def rounds(self) -> int:
        return -(-self.steps // self.steps_per_round)

    def is_measured(self, rounds: int) -> bool:
        """Whether retrieval is measured after so many rounds."""
        return rounds == self.rounds or rounds % max(1, round(self.rounds / _MEASUREMENTS)) == 0


@dataclass(frozen=True)
class Progress:
    """What was measured so far, after which step the weights were best, and whether the training is over."""

    history: tuple[TrainingPoint, ...] = ()
    best_step: int = 0
    seconds: float = 0.0
    is_over: bool = False
    stopped_early: bool = False


@dataclass(frozen=True)
class JobFolder:
    """The folder of a training on images."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where open_clip's trainer keeps its own."""
        return self.path / "engine"

    @property
    def log(self) -> Path:
        """What the trainer printed."""
        return self.path / "engine.log"

    @property
    def best(self) -> Path:
        """The best weights so far, in safetensors."""
        return self.path / "best.safetensors"

    @property
    def steps(self) -> Path:
        """A line for each step: its number, the loss, and the norm of the gradient before it is clipped."""
        return self.path / "steps.csv"

    @property
    def skipped(self) -> Path:
        """A line of JSON for each image that could not be read."""
        return self.path / "skipped.txt"

    @property
    def failure(self) -> Path:
        """Why the trainer ended, if it knows."""
        return self.path / "failure.json"

    def write_job(self, job: ImageJob) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / JOB.name, pickle.dumps(job))

    def read_job(self) -> ImageJob | None:
        """The job; None if there is none. Raises IntegrityError if it is damaged.

        It is a pickle that this program wrote into the user's own folder, and nothing else reads one.
        """
        try:
            job = pickle.loads((self.path / JOB.name).read_bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _damaged(self.path) from error
        if not isinstance(job, ImageJob):
            raise _damaged(self.path)
        return job

    def forget_steps(self, after: int) -> None:
        """Forget steps after a checkpoint, which are done again."""
        if self.steps.exists():
            lines = self.steps.read_text(encoding="utf-8").splitlines(keepends=True)[:after]
            write_file(self.steps, "".join(lines).encode())

    def write_progress(self, progress: Progress) -> None:
        write_file(self.path / _PROGRESS, json.dumps(asdict(progress)).encode())

    def read_progress(self) -> Progress:
        """Raises IntegrityError if it is damaged."""
        try:
            content: dict[str, Any] = json.loads((self.path / _PROGRESS).read_bytes())
            return Progress(**{**content, "history": tuple(TrainingPoint(**one) for one in content["history"])})
        except FileNotFoundError:
            return Progress()
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self.path) from error


def _damaged(folder: Path) -> IntegrityError:
    return IntegrityError(f"the training in '{folder.parent}' is damaged", hint="Begin again with `force`.")
