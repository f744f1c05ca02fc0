"""open_clip's trainer on a job of ours, in processes of its own: ``python -m zsretrieve.training.engine FOLDER``, also
under torchrun on several machines.

The trainer has the loop, the optimizer, mixed precision, checkpoints and the work of several processes. It gets from
here the model, the batches, the loss, which knows equal captions, and the measurement; these are functions that its
main module has imported, and are replaced there (docs/decisions/0021).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.loss import gather_features
from safetensors.torch import save
from torch import nn

from zsretrieve.domain.errors import TrainingError
from zsretrieve.domain.model_training import Lock, Loss, TrainingPoint
from zsretrieve.system.atomic import write_file
from zsretrieve.training.beginning import begun, image_size
from zsretrieve.training.image_batches import Images, TrainingBatches, tokens_of, transform, vectors_of
from zsretrieve.training.job import WATCHED, ImageJob, JobFolder, Progress
from zsretrieve.training.losses import clip_loss, siglip_loss
from zsretrieve.training.recall import HeldOut

_LOSSES = {Loss.CLIP: clip_loss, Loss.SIGLIP: siglip_loss}
_WARM_UP, _MOST_NORM = 0.05, 1.0
# On a GPU, reading the loss waits for the step.
_LOOK_EVERY = 20


class _DivergedError(Exception):
    """The loss became infinite or NaN."""


class _EnoughError(Exception):
    """Nothing improves."""


@dataclass
class _Watch:
    """What is written of a training, by the first of its processes."""

    job: ImageJob
    folder: JobFolder
    is_first: bool
    progress: Progress
    started: float
    losses: list[torch.Tensor] = field(default_factory=list)
    norms: list[torch.Tensor] = field(default_factory=list)
    since: tuple[float, float, int] = (0.0, 0.0, 0)

    def look(self, step: int) -> None:
        """Read what the last steps gave, of which ``step`` is the first. Raises _DivergedError."""
        found = [(loss.item(), norm.item()) for loss, norm in zip(self.losses, self.norms, strict=True)]
        self.losses, self.norms = [], []
        if self.is_first:
            with open(self.folder.steps, "a", encoding="utf-8") as file:
                file.writelines(f"{step + n + 1},{loss:.9g},{norm:.9g}\n" for n, (loss, norm) in enumerate(found))
        for n, (loss, norm) in enumerate(found):
            if not math.isfinite(loss) or not math.isfinite(norm):
                what = f"loss became {loss:g}" if not math.isfinite(loss) else f"gradient became {norm:g}"
                raise _DivergedError(f"the {what} at step {step + n + 1}")
            self.since = (self.since[0] + loss, self.since[1] + norm, self.since[2] + 1)

    def measured(self, step: int, recall: tuple[float, float] | None, model: Any, lr: float) -> None:
        """Add a measurement; the weights are kept if they are the best."""
        loss, norm, count = self.since
        point = TrainingPoint(
            step=step,
            seconds=time.monotonic() - self.started,
            loss=loss / count if count else None,
            grad_norm=norm / count if count else None,
            lr=lr,
            scale=model.logit_scale.exp().item(),
            bias=None if model.logit_bias is None else model.logit_bias.item(),
            text_to_image=None if recall is None else recall[0],
            image_to_text=None if recall is None else recall[1],
        )
        self.since = (0.0, 0.0, 0)
        before = self.progress
        best = next((one.recall for one in before.history if one.step == before.best_step), None)
        history, best_step = (*before.history, point), before.best_step
        # Of equally good weights those that were trained longer; without a measurement the last.
        if point.recall is None or best is None or point.recall >= best:
            weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
            write_file(self.folder.best, save(weights, {"format": "pt", "step": str(step)}))
            best_step = step
        recalls = [one.recall or 0.0 for one in history]
        patience = self.job.settings.patience
        is_stuck = patience is not None and len(recalls) - 1 - recalls.index(max(recalls)) >= patience
        self.progress = replace(
            before, history=history, best_step=best_step, seconds=point.seconds, stopped_early=is_stuck
        )
        self.folder.write_progress(self.progress)


class _SharedLoss(nn.Module):
    """The loss of the batch of all processes, in which equal captions do not count as mistakes of each other."""

    def __init__(self, batches: TrainingBatches, watch: _Watch) -> None:
        super().__init__()
        self._batches, self._watch = batches, watch
        self._loss = _LOSSES[batches.job.loss]

    def forward(
        self, image_features: Any, text_features: Any, logit_scale: Any, logit_bias: Any = None, **_: Any
    ) -> dict[str, torch.Tensor]:
        batches = self._batches
        assert batches.captions is not None
        captions = batches.captions.to(image_features.device)
        if batches.world > 1:
            image_features, text_features = gather_features(
                image_features, text_features, gather_with_grad=True, rank=batches.rank, world_size=batches.world
            )
            parts = [torch.empty_like(captions) for _ in range(batches.world)]
            torch.distributed.all_gather(parts, captions)
            captions = torch.cat(parts)
        same = captions[:, None] == captions[None, :]
        loss = self._loss(image_features.float(), text_features.float(), same, logit_scale, logit_bias)
        self._watch.losses.append(loss.detach())
        return {"contrastive_loss": loss}


@dataclass(frozen=True)
class _Texts:
    """The texts of a model, as ``HeldOut`` asks for them."""

    model: Any
    tokens: torch.Tensor

    def all_vectors(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        """float32 of shape (n, dim), unit rows."""
        device = next(self.model.parameters()).device
        parts = torch.split(torch.from_numpy(numbers), 256)
        with torch.inference_mode():
            return torch.cat([
                self.model.encode_text(self.tokens[part].long().to(device), normalize=True).float().cpu()
                for part in parts
            ])  # fmt: skip


def run(folder: JobFolder) -> None:
    """Train until all steps are done, nothing improves, or the loss becomes infinite or NaN.

    A training that was stopped goes on after its last checkpoint.
    """
    from open_clip_train import main as trainer

    if os.environ.get(WATCHED):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    job = folder.read_job()
    if job is None:
        raise TrainingError(f"there is no training in '{folder.path}'", hint="Begin one: zsretrieve train.")
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if rank == 0:
        _hold(folder)
    model, tokenizer = begun(job)
    model.output_dict = True
    config = image_size(model)
    tokens = tokens_of(tokenizer, job.pairs.captions)
    seen = transform(config)
    batches = TrainingBatches(job, folder, tokens, transform(config, crop=job.settings.crop), rank, world)
    progress = folder.read_progress()
    watch = _Watch(job, folder, rank == 0, progress, time.monotonic() - progress.seconds)
    lr = [0.0]

    def given(*_: Any, device: Any, **__: Any) -> Any:
        return model.to(device), None, None

    def data(*_: Any, epoch: int, **__: Any) -> dict[str, Any]:
        done = epoch * job.steps_per_round
        history = tuple(point for point in watch.progress.history if point.step <= done)
        watch.progress = replace(watch.progress, history=history, stopped_early=False)
        _cut(folder.steps, done)
        return {"train": batches, "val": None}

    def measure(engine_model: Any, rounds: int) -> None:
        one = engine_model.module if world > 1 else engine_model
        recall = None
        if len(job.held_out):
            was_training = one.training
            one.eval()
            vectors = vectors_of(one, Images(job, folder, seen), job.held_out, job)
            recall = HeldOut.of(job.pairs, job.held_out, vectors).recall(_Texts(one, tokens))
            one.train(was_training)
        watch.measured(min(job.steps, rounds * job.steps_per_round), recall, one, lr[0])

    def one_round(engine_model: Any, given: Any, loss: Any, epoch: int, optimizer: Any, *more: Any, **how: Any) -> None:
        if watch.is_first and epoch == 0 and not watch.progress.history:
            measure(engine_model, 0)
        if _agreed(stop=watch.progress.stopped_early, world=world):
            raise _EnoughError
        first = epoch * job.steps_per_round
        clip = torch.nn.utils.clip_grad_norm_

        def clipped(*args: Any, **options: Any) -> torch.Tensor:
            norm = clip(*args, **options)
            watch.norms.append(norm.detach())
            if len(watch.norms) == (1 if job.device == "cpu" else _LOOK_EVERY):
                nonlocal first
                watch.look(first)
                first += 1 if job.device == "cpu" else _LOOK_EVERY
            return norm

        torch.nn.utils.clip_grad_norm_ = clipped
        try:
            epoch_of_trainer(engine_model, given, loss, epoch, optimizer, *more, **how)
        finally:
            torch.nn.utils.clip_grad_norm_ = clip
        watch.look(first)
        lr[0] = optimizer.param_groups[0]["lr"]

    def evaluate(engine_model: Any, _: Any, epoch: int, *__: Any, **___: Any) -> None:
        if watch.is_first and job.is_measured(epoch):
            measure(engine_model, epoch)

    if world > 1 and job.device == "cpu":
        _distribute_on_cpus()
    epoch_of_trainer = trainer.train_one_epoch
    for name, value in {
        "create_model_and_transforms": given,
        "get_tokenizer": lambda *_, **__: tokenizer,
        "get_data": data,
        "create_loss": lambda _: _SharedLoss(batches, watch),
        "train_one_epoch": one_round,
        "evaluate": evaluate,
    }.items():
        if not hasattr(trainer, name):
            raise TrainingError(
                f"open_clip's trainer has no {name} in this version", hint="Install the version in constraints.txt."
            )
        setattr(trainer, name, value)
    with contextlib.suppress(_EnoughError):
        trainer.main(_options(job, folder))
    if watch.is_first:
        folder.write_progress(replace(watch.progress, is_over=True, seconds=time.monotonic() - watch.started))


def _distribute_on_cpus() -> None:
    """The trainer names a device for each process, which torch only takes for GPUs."""
    distributed = torch.nn.parallel.DistributedDataParallel

    def without_devices(model: Any, device_ids: Any = None, **how: Any) -> Any:  # noqa: ARG001
        return distributed(model, **how)

    torch.nn.parallel.DistributedDataParallel = without_devices  # type: ignore[misc,assignment]


def _end_with_parent() -> None:
    """End once the process that started this one has, however it did."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _hold(folder: JobFolder) -> None:
    """Wait until no other trainer works in the folder, and keep others from it until this process ends."""
    held = os.open(folder.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)


def _options(job: ImageJob, folder: JobFolder) -> list[str]:
    """What open_clip's trainer is told."""
    settings = job.settings
    words = {
        "--train-data": "given", "--dataset-type": "synthetic", "--model": "given", "--name": "run",
        "--logs": str(folder.checkpoints), "--epochs": job.rounds, "--batch-size": settings.batch_size,
        "--lr": settings.peak_lr, "--wd": settings.weight_decay, "--beta1": 0.9, "--beta2": 0.98, "--eps": 1e-6,
        "--warmup": max(1, round(_WARM_UP * job.steps)), "--grad-clip-norm": _MOST_NORM, "--precision": job.precision,
        "--device": job.device.partition(":")[0], "--seed": settings.seed, "--workers": settings.workers,
        "--resume": "latest", "--save-frequency": 0, "--log-every-n-steps": 100,
    }  # fmt: skip
    flags = ["--save-most-recent"]
    flags += ["--lock-image", "--lock-image-freeze-bn-stats"] if settings.lock is Lock.IMAGE else []
    flags += ["--lock-text", "--lock-text-freeze-layer-norm"] if settings.lock is Lock.TEXT else []
    flags += ["--grad-checkpointing"] if settings.checkpointing else []
    flags += ["--siglip"] if job.loss is Loss.SIGLIP else []
    return [*(str(word) for pair in words.items() for word in pair), *flags]


def _agreed(*, stop: bool, world: int) -> bool:
    """Whether the first process stops, in all of them."""
    if world == 1:
        return stop
    said = [stop]
    torch.distributed.broadcast_object_list(said, src=0)
    return said[0]


def _cut(file: Path, steps: int) -> None:
    """Forget steps after a checkpoint, which are done again."""
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)[:steps]
        write_file(file, "".join(lines).encode())


def main(words: Sequence[str]) -> int:
    """Train the job in a folder; what fails is written there. Returns an exit code."""
    folder = JobFolder(Path(words[0]))
    try:
        run(folder)
    except Exception as error:  # noqa: BLE001, as nobody else hears of it
        kinds = {_DivergedError: "diverged", OSError: "system", torch.cuda.OutOfMemoryError: "memory"}
        kind = next((name for one, name in kinds.items() if isinstance(error, one)), "other")
        content = {"kind": kind, "message": getattr(error, "message", None) or str(error) or type(error).__name__}
        folder.failure.write_text(json.dumps(content), encoding="utf-8")
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
