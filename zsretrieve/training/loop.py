"""The steps of a training, its measurements and its state."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zsretrieve.domain.errors import TrainingError
from zsretrieve.domain.model_training import TrainingPoint, TrainingSettings, Tune, is_best, is_stuck
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.system.interruption import held_back
from zsretrieve.training.losses import BETAS, EPSILON, LOSSES, MOST_NORM, WARM_UP
from zsretrieve.training.pairs import Batch, Pairs
from zsretrieve.training.recall import HeldOut
from zsretrieve.training.state import State, write_state
from zsretrieve.training.texts import TrainedTexts

_log = logging.getLogger("zsretrieve")

_DECAY = {Tune.TEXT: 0.05, Tune.LORA: 0.0, Tune.LINEAR: 0.0}
_MEASUREMENTS = 20  # in all, besides the first
_SAVE_S = 30.0


@dataclass(frozen=True)
class Job:
    """What is trained on what.

    ``vectors`` gives the vectors of rows, float32 of shape (n, dim), unit rows. ``images`` are trained on and
    ``held_out`` measured, as numbers of ``pairs``. ``out`` keeps the state; ``on_point`` is called after each
    measurement with all of them.
    """

    pairs: Pairs
    images: NDArray[np.int64]
    held_out: NDArray[np.int64]
    vectors: Callable[[Rows], Vectors]
    settings: TrainingSettings
    out: Path
    on_progress: OnProgress | None
    on_point: Callable[[list[TrainingPoint]], None]

    @property
    def steps(self) -> int:
        return self.settings.steps_for(len(self.images))


def train(side: TrainedTexts, state: State, job: Job) -> None:
    """Train from a state until all steps are done or nothing improves; ``state`` holds what came of it.

    An interruption, or an error, leaves the state on disk, and so does the end.

    Raises
    ------
    TrainingError
        If the loss becomes infinite or NaN; the state goes back to the best weights that were measured.
    IndexFolderError
        If the state cannot be written.
    """
    run = _Run(side, state, job)
    try:
        run.finish()
    except TrainingError:
        state.back_to_best()
        write_state(job.out, state)
        raise
    except BaseException:
        with held_back():
            run.save()
        _log.info(f"{state.step:,} of {job.steps:,} steps are kept; run the same command again to continue")
        raise
    run.save()


class _Run:
    def __init__(self, side: TrainedTexts, state: State, job: Job) -> None:
        self._side, self._state, self._job = side, state, job
        self._loss = LOSSES[side.loss]
        self._started = time.monotonic() - state.seconds
        self._saved = time.monotonic()
        side.restore(state.now)
        decay = _DECAY[job.settings.tune]
        # Weights are decayed, and neither biases, norms nor the temperature.
        groups = [
            {"params": [one for one in side.parameters.values() if one.ndim >= 2], "weight_decay": decay},
            {"params": [one for one in side.parameters.values() if one.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=job.settings.peak_lr, betas=BETAS, eps=EPSILON)
        for name, mean in state.means.items():
            parameter = side.parameters[name]
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(state.updates)),
                "exp_avg": mean.to(parameter.device, copy=True),
                "exp_avg_sq": state.squares[name].to(parameter.device, copy=True),
            }
        measured = job.vectors(job.pairs.rows[job.held_out])
        self._held_out = HeldOut.of(job.pairs, job.held_out, measured) if len(job.held_out) else None

    def finish(self) -> None:
        state, job = self._state, self._job
        every = math.ceil(job.steps / _MEASUREMENTS)
        if state.history:
            job.on_point(state.history)
        while True:
            is_due = state.step % every == 0 or state.step == job.steps
            if is_due and (not state.history or state.history[-1].step != state.step):
                self._measure()
            if state.step == job.steps or state.stopped_early:
                return
            with held_back():
                self._step(job.pairs.batch(state.step, job.images, job.settings))
            if job.on_progress is not None:
                job.on_progress(state.step, job.steps)
            if time.monotonic() - self._saved > _SAVE_S:
                self.save()

    def save(self) -> None:
        """Write the state to disk."""
        state = self._state
        state.now, state.seconds = self._side.state(), time.monotonic() - self._started
        # A weight that the loss does not depend on has none.
        known = {name: self._optimizer.state.get(value) for name, value in self._side.parameters.items()}
        moments = {name: one for name, one in known.items() if one}
        state.means = {name: one["exp_avg"].cpu() for name, one in moments.items()}
        state.squares = {name: one["exp_avg_sq"].cpu() for name, one in moments.items()}
        write_state(self._job.out, state)
        self._saved = time.monotonic()

    def _step(self, batch: Batch) -> None:
        state, side = self._state, self._side
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr(state.step)
        side.train()
        texts = side.vectors(batch.captions)
        images = torch.from_numpy(self._job.vectors(batch.rows)).to(texts.device)
        same = torch.from_numpy(batch.same).to(texts.device)
        loss = self._loss(images, texts, same, side.scale, side.bias)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(list(side.parameters.values()), MOST_NORM).item()
        if not math.isfinite(norm) or not math.isfinite(loss.item()):
            what = f"loss became {loss.item():g}" if not math.isfinite(loss.item()) else f"gradient became {norm:g}"
            raise TrainingError(
                f"the {what} at step {state.step + 1}; the weights of step {state.best_step} are kept",
                hint=f"Run the command again with a lower `lr` than {self._job.settings.peak_lr:g}.",
            )
        self._optimizer.step()
        side.clamp()
        state.step += 1
        state.updates += 1
        state.losses, state.norms, state.since = state.losses + loss.item(), state.norms + norm, state.since + 1

    def _lr(self, step: int) -> float:
        """The learning rate of a step: a linear rise, then half a cosine down to 0."""
        steps, peak = self._job.steps, self._job.settings.peak_lr
        rise = max(1, round(WARM_UP * steps))
        if step < rise:
            return peak * (step + 1) / rise
        return peak * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2

    def _measure(self) -> None:
        state, side = self._state, self._side
        recall = (None, None) if self._held_out is None else self._held_out.recall(side)
        point = TrainingPoint(
            step=state.step,
            seconds=time.monotonic() - self._started,
            loss=state.losses / state.since if state.since else None,
            grad_norm=state.norms / state.since if state.since else None,
            lr=self._lr(max(0, state.step - 1)),
            scale=side.scale.item(),
            bias=None if side.bias is None else side.bias.item(),
            text_to_image=recall[0],
            image_to_text=recall[1],
        )
        with held_back():
            if is_best(point, state.history, state.best_step):
                state.best, state.best_step = side.state(), state.step
            state.losses, state.norms, state.since = 0.0, 0.0, 0
            state.history.append(point)
            state.stopped_early = is_stuck(state.history, self._job.settings.patience)
        self._job.on_point(state.history)
