"""The state of a training on disk: one file, replaced as a whole, from which the same command continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from zsretrieve.domain.errors import IndexFolderError, IntegrityError
from zsretrieve.domain.model_training import TrainingPoint
from zsretrieve.system.atomic import write_file
from zsretrieve.training.place import STATE

_KEY = "training"

Tensors = dict[str, torch.Tensor]


@dataclass
class State:
    """Where a training is: after ``step`` steps and ``seconds``, with ``now`` as its weights.

    ``updates`` of the optimizer led to its moments, the mean gradients and squared gradients. ``losses`` and ``norms``
    are the sums since the last measurement, over ``since`` steps. ``key`` identifies what is trained on what.
    """

    key: str
    now: Tensors
    step: int = 0
    seconds: float = 0.0
    updates: int = 0
    means: Tensors = field(default_factory=dict)
    squares: Tensors = field(default_factory=dict)
    losses: float = 0.0
    norms: float = 0.0
    since: int = 0
    best_step: int = 0
    best: Tensors = field(default_factory=dict)
    history: list[TrainingPoint] = field(default_factory=list)
    stopped_early: bool = False

    def back_to_best(self) -> None:
        """Return to the best weights that were measured, with an optimizer that has seen nothing."""
        self.now, self.step, self.updates = dict(self.best), self.best_step, 0
        self.means, self.squares, self.losses, self.norms, self.since = {}, {}, 0.0, 0.0, 0
        self.history = [point for point in self.history if point.step <= self.best_step]


_TENSORS = ("now", "means", "squares", "best")


def write_state(out: Path, state: State) -> None:
    """Write a state beside an earlier one, then in its place. Raises IndexFolderError if the system refuses."""
    tensors = {f"{part}/{name}": value for part in _TENSORS for name, value in getattr(state, part).items()}
    about = {name: value for name, value in vars(state).items() if name not in _TENSORS}
    about["history"] = [asdict(point) for point in state.history]
    # Tensors that share memory are written twice.
    content = save({name: value.contiguous().clone() for name, value in tensors.items()}, {_KEY: json.dumps(about)})
    try:
        (out / STATE).parent.mkdir(parents=True, exist_ok=True)
        write_file(out / STATE, content)
    except OSError as error:
        raise IndexFolderError(
            f"the state of the training cannot be written to '{out}': {error.strerror or error}",
            hint="Free some space, then run the command again: it continues from the last state.",
        ) from error


def read_state(out: Path) -> State | None:
    """The state of an unfinished training in a folder, None if there is none.

    Raises IntegrityError if it is damaged.
    """
    place = out / STATE
    if not place.is_file():
        return None
    try:
        with safe_open(place, framework="pt") as file:
            about: Mapping[str, Any] = json.loads(file.metadata()[_KEY])
            parts: dict[str, Tensors] = {part: {} for part in _TENSORS}
            for whole in file.keys():  # noqa: SIM118  (it is no mapping)
                part, _, name = whole.partition("/")
                parts[part][name] = file.get_tensor(whole)
        history = [TrainingPoint(**point) for point in about["history"]]
        return State(**{**about, **parts, "history": history})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"the state of the training in '{out}' is damaged", hint="Begin again with `force`."
        ) from error
