"""open_clip's trainer on a job of ours, in processes of its own: ``python -m zsretrieve.training.engine FOLDER``, also
under torchrun on several machines.

The trainer has the loop, the optimizer, mixed precision, checkpoints and the work of several processes. It gets from
here the model, the batches, the loss, which knows equal captions, and the measurement; these are functions that its
main module has imported, and are replaced there (docs/decisions/0021).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
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
from safetensors.torch import load_file, save
from torch import nn

from zsretrieve.domain.errors import ImageError, SourceError, TrainingError, ZsRetrieveError
from zsretrieve.domain.model_training import Lock, Loss, TrainingPoint, is_best, is_stuck
from zsretrieve.system.atomic import write_file
from zsretrieve.training.beginning import begun, preprocessing
from zsretrieve.training.image_batches import NONE_READABLE, Crop, Images, TrainingBatches, Whole, vectors_of
from zsretrieve.training.job import DISK_IS_FULL, WATCHED, ImageJob, JobFolder, Progress
from zsretrieve.training.losses import BETAS, EPSILON, LOSSES, MOST_NORM, WARM_UP
from zsretrieve.training.recall import HeldOut
from zsretrieve.training.texts import tokens_of

# On a GPU, reading the loss waits for the step.
_LOOK_EVERY = 20
# Errors of the system, and of torch, where nothing more can be written.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_FULL_WORDS = ("No space left", "PytorchStreamWriter", "file write failed")


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
        history, best_step = (*before.history, point), before.best_step
        if is_best(point, before.history, best_step):
            weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
            write_file(self.folder.best, save(weights, {"format": "pt"}))
            best_step = step
        self.progress = replace(
            before,
            history=history,
            best_step=best_step,
            seconds=point.seconds,
            stopped_early=is_stuck(history, self.job.settings.patience),
        )
        self.folder.write_progress(self.progress)


class _SharedLoss(nn.Module):
    """The loss of the batch of all processes, in which equal captions do not count as mistakes of each other."""

    def __init__(self, batches: TrainingBatches, watch: _Watch) -> None:
        super().__init__()
        self._batches, self._watch = batches, watch
        self._loss = LOSSES[batches.job.loss]

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
        # In bf16 the logits of a batch would be wrong by up to half a percent.
        with torch.autocast(image_features.device.type, enabled=False):
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
            return torch.cat(
                [
                    self.model.encode_text(self.tokens[part].long().to(device), normalize=True).float().cpu()
                    for part in parts
                ]
            )


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
    config = preprocessing(model)
    tokens = tokens_of(tokenizer, job.pairs.captions)
    seen = Whole(config)
    batches = TrainingBatches(job, folder, tokens, Crop(config, job.settings.crop), rank, world)
    progress = folder.read_progress()
    watch = _Watch(job, folder, rank == 0, progress, time.monotonic() - progress.seconds)
    lr = [0.0]

    def begin(*_: Any, device: Any, **__: Any) -> Any:
        # The trainer leaves the projection of a locked tower free where the tower is timm's.
        for name, value in model.named_parameters():
            if _is_locked(name, job.settings.lock):
                value.requires_grad_(requires_grad=False)
        return model.to(device), None, None

    def data(*_: Any, epoch: int, **__: Any) -> dict[str, Any]:
        done = epoch * job.steps_per_round
        history = tuple(point for point in watch.progress.history if point.step <= done)
        watch.progress = replace(watch.progress, history=history, stopped_early=False)
        folder.forget_steps(done)
        return {"train": batches, "val": None}

    def measure(engine_model: Any, rounds: int) -> None:
        one = engine_model.module if world > 1 else engine_model
        recall = None
        if len(job.held_out):
            was_training = one.training
            one.eval()
            with contextlib.suppress(ImageError):
                numbers, vectors = vectors_of(one, Images(job, folder, seen, job.held_out), job.held_out, job)
                recall = HeldOut.of(job.pairs, numbers, vectors).recall(_Texts(one, tokens))
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
        "create_model_and_transforms": begin,
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


def _is_locked(name: str, lock: Lock | None) -> bool:
    """Whether a weight belongs to the tower that stays as it is."""
    is_temperature, is_image = name.startswith("logit_"), name.startswith("visual.")
    return lock is not None and not is_temperature and is_image == (lock is Lock.IMAGE)


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
    """The options of open_clip's trainer."""
    settings = job.settings
    words = {
        "--train-data": "given",
        "--dataset-type": "synthetic",
        "--model": "given",
        "--name": "run",
        "--logs": str(folder.checkpoints),
        "--epochs": job.rounds,
        "--batch-size": settings.batch_size,
        "--lr": settings.peak_lr,
        "--wd": settings.weight_decay,
        "--beta1": BETAS[0],
        "--beta2": BETAS[1],
        "--eps": EPSILON,
        "--warmup": max(1, round(WARM_UP * job.steps)),
        "--grad-clip-norm": MOST_NORM,
        "--precision": job.precision,
        "--device": job.device.partition(":")[0],
        "--seed": settings.seed,
        "--workers": settings.workers,
        "--resume": "latest",
        "--save-frequency": 0,
        "--log-every-n-steps": 100,
    }
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


def _back_to_best(folder: JobFolder) -> None:
    """Put the best weights, with an optimizer that has seen nothing, in the place of the last checkpoint."""
    job = folder.read_job()
    latest = next(folder.checkpoints.glob("*/checkpoints/epoch_latest.pt"), None)
    if job is None or latest is None:  # it begins again
        return
    checkpoint = torch.load(latest, map_location="cpu", weights_only=True)
    # As the trainer has them where several processes share a model.
    prefix = "module." if next(iter(checkpoint["state_dict"])).startswith("module.") else ""
    checkpoint["state_dict"] = {f"{prefix}{name}": value for name, value in load_file(folder.best).items()}
    checkpoint["optimizer"]["state"] = {}
    checkpoint["epoch"] = folder.read_progress().best_step // job.steps_per_round
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_file(latest, content.getvalue())


def _reason(error: Exception) -> dict[str, Any]:
    """An error as the process that started this one reads it."""
    text = str(error) or type(error).__name__
    if NONE_READABLE in text:
        error = SourceError("no image of the source can be read", hint="Check the files.")
    if isinstance(error, ZsRetrieveError):
        return {"kind": "known", "name": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, _DivergedError):
        kind = "diverged"
    elif isinstance(error, torch.cuda.OutOfMemoryError):
        kind = "memory"
    elif getattr(error, "errno", None) in _FULL or any(word in text for word in _FULL_WORDS):
        kind = "disk"
    else:
        kind = "other"
    return {"kind": kind, "message": text}


def main(words: Sequence[str]) -> int:
    """Train the job in a folder; why it fails is written there. Returns an exit code."""
    folder = JobFolder(Path(words[0]))
    try:
        run(folder)
    except Exception as error:  # noqa: BLE001, as nobody else hears of it
        reason = _reason(error)
        if isinstance(error, _DivergedError) and os.environ.get("RANK", "0") == "0":
            with contextlib.suppress(OSError):
                _back_to_best(folder)
        # On a full disk this fails, too. Of several processes the first knows best.
        with contextlib.suppress(OSError), open(folder.failure, "x", encoding="utf-8") as file:
            json.dump(reason, file)
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return DISK_IS_FULL if reason["kind"] == "disk" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
