"""Training a model on images with captions, by open_clip's trainer in processes of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from zsretrieve.domain import errors
from zsretrieve.domain.errors import IndexFolderError, IntegrityError, OutputExistsError, TrainingError
from zsretrieve.domain.model_training import Lock, TrainedModel, TrainingPoint
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.records import Skipped
from zsretrieve.encoders.catalog import files
from zsretrieve.encoders.catalog.model_name import LOCAL
from zsretrieve.training.job import DISK_IS_FULL, WATCHED, ImageJob, JobFolder, Progress
from zsretrieve.training.place import FOLDER

_log = logging.getLogger("zsretrieve")

_LOOK_S = 0.2
# Seconds that a trainer may take to end.
_END_S = 20.0
_TRAINED = {None: "both towers", Lock.IMAGE: "text tower", Lock.TEXT: "image tower"}


def prepare(job: ImageJob, out: Path, *, force: bool) -> JobFolder:
    """Write the job to ``out``, beside what an unfinished training of the same has left.

    Raises
    ------
    OutputExistsError
        If ``out`` has an unfinished training of something else, unless ``force`` is given.
    IndexFolderError
        If the system refuses to write.
    """
    folder = JobFolder(out / FOLDER)
    earlier, done = None, Progress()
    with contextlib.suppress(IntegrityError) if force else contextlib.nullcontext():
        earlier, done = folder.read_job(), folder.read_progress()
    if earlier is None or earlier.key != job.key:
        if folder.path.exists() and any(folder.path.iterdir()) and not force:
            raise OutputExistsError(
                f"'{out}' has an unfinished training of other data or settings",
                hint="Continue it with the settings it began with; only `lr` may differ. Or begin again with `force`.",
            )
        shutil.rmtree(folder.path, ignore_errors=True)
    elif done.history:
        _log.info(f"continuing after step {done.history[-1].step:,}")
    try:
        folder.write_job(job)
        folder.failure.unlink(missing_ok=True)
    except OSError as error:
        raise IndexFolderError(
            f"the training cannot be written to '{out}': {error.strerror or error}", hint="Give another folder."
        ) from error
    return folder


def command(folder: JobFolder, processes: int) -> list[str]:
    """What trains: one process, or several that torchrun starts."""
    engine = ["-m", "zsretrieve.training.engine", str(folder.path)]
    if processes == 1:
        return [sys.executable, *engine]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *engine]


def train(
    job: ImageJob,
    folder: JobFolder,
    *,
    on_progress: OnProgress | None,
    on_point: Callable[[list[TrainingPoint]], None],
) -> None:
    """Train until it is over; ``on_point`` is called after each measurement, with all of them.

    Raises
    ------
    TrainingError
        If the loss becomes infinite or NaN, the memory of a GPU is too small, or the trainer fails; what it has saved
        stays.
    IndexFolderError
        If a checkpoint cannot be written.
    """
    shown = 0
    if folder.read_progress().is_over:
        on_point(list(folder.read_progress().history))
        return
    shown_gpus = only_gpus(job.devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    with _running(command(folder, job.processes), folder, shown_gpus) as engine:
        while True:
            is_over = engine.poll() is not None
            if on_progress is not None:
                on_progress(_steps(folder), job.steps)
            points = folder.read_progress().history
            if len(points) > shown:
                shown = len(points)
                on_point(list(points))
            if is_over:
                break
            time.sleep(_LOOK_S)
    if engine.returncode:
        raise _failure(job, folder, engine.returncode)


def finish(job: ImageJob, folder: JobFolder, out: Path, source: str) -> TrainedModel:
    """Write the best weights as a model to ``out``, in place of the training."""
    from safetensors.torch import load_file

    from zsretrieve.encoders.catalog.fingerprint import image_side, weights_identity
    from zsretrieve.training.beginning import begun
    from zsretrieve.training.folder import write_model

    progress, settings = folder.read_progress(), job.settings
    unreadable: dict[str, str] = dict(map(json.loads, _lines(folder.skipped)))
    readable = [job.source.files[row].path not in unreadable for row in job.pairs.rows.tolist()]
    model, tokenizer = begun(job)
    model.load_state_dict(load_file(folder.best))
    trained = TrainedModel(
        out=str(out),
        model=f"{LOCAL}{out.absolute()}",
        base=job.name.in_manifest,
        data=source,
        trained=_TRAINED[settings.lock] + (" from random weights" if settings.from_scratch else ""),
        loss=job.loss,
        n_images=sum(readable[number] for number in job.images.tolist()),
        n_captions=len(job.pairs.captions),
        n_held_out=sum(readable[number] for number in job.held_out.tolist()),
        steps=progress.history[-1].step,
        best_step=progress.best_step,
        stopped_early=progress.stopped_early,
        batch_size=min(settings.batch_size, len(job.images)),
        lr=settings.peak_lr,
        seed=settings.seed,
        from_scratch=settings.from_scratch,
        seconds=progress.seconds,
        history=progress.history,
        skipped=(*job.pairs.skipped, *(Skipped(path, reason) for path, reason in unreadable.items())),
    )
    images_of = None
    if settings.lock is Lock.IMAGE:
        images_of = image_side(job.name) or weights_identity(job.name)
    write_model(job.name, files.configuration(job.name), model, tokenizer, images_of, trained)
    return trained


def only_gpus(devices: Sequence[str], visible: str | None) -> dict[str, str]:
    """The environment in which ``cuda:N`` are the only GPUs: the trainer's processes take those they see by their rank.

    ``visible`` is the ``CUDA_VISIBLE_DEVICES`` that the numbers count in.
    """
    numbers = [device.partition("cuda:")[2] for device in devices]
    if not all(numbers):
        return {}
    names = visible.split(",") if visible else None
    return {"CUDA_VISIBLE_DEVICES": ",".join(number if names is None else names[int(number)] for number in numbers)}


@contextlib.contextmanager
def _running(words: list[str], folder: JobFolder, shown_gpus: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The trainer, which ends with the block."""
    # The trainer's own warnings and tables are for its log.
    with open(folder.log, "ab") as log:
        engine = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", WATCHED: "1", **shown_gpus},
        )
        try:
            yield engine
        except BaseException:
            history = folder.read_progress().history
            kept = f"{history[-1].step:,} steps are kept" if history else "no step is kept yet"
            _log.info(f"{kept}; run the same command again to continue")
            raise
        finally:
            if engine.poll() is None:
                os.killpg(engine.pid, signal.SIGTERM)
                try:
                    engine.wait(_END_S)
                except subprocess.TimeoutExpired:
                    os.killpg(engine.pid, signal.SIGKILL)
                    engine.wait()
            assert engine.stdin is not None
            engine.stdin.close()


def _failure(job: ImageJob, folder: JobFolder, code: int) -> Exception:
    """What to say of a trainer that failed, with its exit code."""
    try:
        content = json.loads(folder.failure.read_bytes())
    except (OSError, ValueError):
        content = {"kind": "disk" if code == DISK_IS_FULL else "other", "message": "it ended without a message"}
    message = " ".join(content["message"].split())[:300]
    match content["kind"]:
        case "known":
            known: type[errors.ZsRetrieveError] = getattr(errors, content["name"])
            return known(content["message"], hint=content["hint"])
        case "diverged":
            return TrainingError(
                f"{message}; the weights of step {folder.read_progress().best_step} are kept",
                hint=f"Run the command again with a lower `lr` than {job.settings.peak_lr:g}.",
            )
        case "disk":
            return IndexFolderError(
                f"the training could not write to '{folder.path}': {message}",
                hint="Free some space, then run the command again: it continues from the last checkpoint.",
            )
        case "memory":
            return TrainingError(
                f"the memory of the GPU is too small: {message}",
                hint="Give a smaller `batch_size`, or `checkpointing`.",
            )
        case _:
            return TrainingError(
                f"open_clip's trainer failed: {message}", hint=f"What it printed is in '{folder.log}'."
            )


def _steps(folder: JobFolder) -> int:
    """How many steps are done: the number that the last whole line begins with."""
    try:
        with open(folder.steps, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return 0
    return int(lines[-2].partition(b",")[0]) if len(lines) > 1 else 0


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def keyed(job: ImageJob, identity: str) -> ImageJob:
    """The job with the key of all that decides its steps and checkpoints, apart from the learning rate."""
    settings = asdict(replace(job.settings, lr=None, workers=0, processes=job.processes, checkpointing=False))
    content = [identity, job.loss, settings, job.precision, asdict(job.reading), job.source.root]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for text in job.pairs.captions:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    for row, numbers in zip(job.pairs.rows.tolist(), job.pairs.of_image, strict=True):
        digest.update(job.source.files[row].path.encode("utf-8", "surrogatepass") + b"\0" + numbers.tobytes())
    return replace(job, key=digest.hexdigest())
