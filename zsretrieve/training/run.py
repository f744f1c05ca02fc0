"""Training the text side of a model against the stored vectors of a gallery, without a forward pass of an image:
locked-image tuning (Zhai et al. 2022, arXiv 2111.07991) from vectors alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.domain.errors import DeviceError, IntegrityError, OutputExistsError, UsageError
from zsretrieve.domain.model_training import TrainedModel, TrainingPoint, TrainingSettings, Tune
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.settings import Compute, Engine, Precision
from zsretrieve.encoders.catalog import files
from zsretrieve.encoders.catalog.fingerprint import weights_identity
from zsretrieve.encoders.catalog.layouts import is_transformers
from zsretrieve.encoders.catalog.model_name import LOCAL, ModelName, NameForm
from zsretrieve.store.indexes import Gallery
from zsretrieve.training.pairs import Pairs
from zsretrieve.training.place import JOB

if TYPE_CHECKING:
    import torch

    from zsretrieve.training.state import State

_log = logging.getLogger("zsretrieve")

_TRAINED = {
    Tune.TEXT: "text tower",
    Tune.LORA: "low-rank additions to its text tower",
    Tune.LINEAR: "linear map of its text vectors",
}


def check_trainable(name: ModelName, compute: Compute) -> None:
    """Raise UsageError if a model has no weights that torch could train, DeviceError if it should not run in torch."""
    if name.form is NameForm.PACK:
        raise UsageError(
            "a pack holds no weights that can be trained",
            hint="Give the `model` that it was made from: `zsretrieve models show PACK` prints it.",
        )
    if name.form is NameForm.CLASSIFIER or is_transformers(name):
        what = "has no text tower" if name.form is NameForm.CLASSIFIER else "is in transformers' layout"
        raise UsageError(f"'{name.written}' {what}, so it cannot be trained", hint="Use a model in open_clip's layout.")
    check_compute(compute)


def check_compute(compute: Compute) -> None:
    """Raise DeviceError unless it is torch in fp32 or bf16."""
    if compute.engine is Engine.OPENVINO or compute.precision in (Precision.INT8, Precision.FP16):
        raise DeviceError("models are trained in torch, in fp32 or bf16", hint="Leave out `engine` and `precision`.")


def train_text_side(
    gallery: Gallery,
    pairs: Pairs,
    name: ModelName,
    settings: TrainingSettings,
    compute: Compute,
    out: Path,
    *,
    force: bool,
    on_progress: OnProgress | None,
    on_point: Callable[[list[TrainingPoint]], None],
) -> TrainedModel:
    """Train, or continue an unfinished training of the same in ``out``, and write the model there.

    ``pairs`` are of the gallery, and ``name`` has its image tower. ``on_point`` is called after each measurement, with
    all of them.

    Raises
    ------
    OutputExistsError
        If ``out`` has an unfinished training of something else, unless ``force`` is given.
    ModelNameError, WeightsUnavailableError, DeviceError
        If the model cannot be loaded, or its device is not available.
    TrainingError, IndexFolderError
        See ``zsretrieve.training.loop``.
    """
    from zsretrieve.encoders.torch import loading
    from zsretrieve.training.folder import write_model
    from zsretrieve.training.loop import Job, train
    from zsretrieve.training.state import State
    from zsretrieve.training.texts import TrainedTexts

    images, held_out = pairs.split(settings)
    key = _key(gallery, pairs, name, settings)
    state = _earlier(out, key, force=force)
    device, half = _device(compute)
    loaded = loading.load(replace(name, trusted=compute.trust_remote_code))
    configuration = files.configuration(name)
    side = TrainedTexts(loaded, configuration.model, pairs.captions, settings, device, half=half)
    if state is None:
        state = State(key, side.state())
    else:
        _log.info(f"continuing after step {state.step:,}")
    job = Job(pairs, images, held_out, gallery.live.take, settings, out, on_progress=on_progress, on_point=on_point)
    train(side, state, job)
    side.restore(state.best)
    trained = TrainedModel(
        out=str(out),
        model=f"{LOCAL}{out.absolute()}",
        base=loaded.space.model,
        data=str(gallery.folder or "in memory"),
        trained=_TRAINED[settings.tune] if not settings.from_scratch else "text tower from random weights",
        loss=side.loss,
        n_images=len(images),
        n_captions=len(pairs.captions),
        n_held_out=len(held_out),
        steps=state.step,
        best_step=state.best_step,
        stopped_early=state.stopped_early,
        batch_size=min(settings.batch_size, len(images)),
        lr=settings.peak_lr,
        seed=settings.seed,
        from_scratch=settings.from_scratch,
        seconds=state.seconds,
        history=tuple(state.history),
        skipped=pairs.skipped,
    )
    write_model(name, configuration, side.finished(), loaded.tokenizer, loaded.space.image_side, trained)
    return trained


def _earlier(out: Path, key: str, *, force: bool) -> State | None:
    """The state of an unfinished training of the same, which ``force`` does not discard."""
    from zsretrieve.training.state import read_state

    try:
        state = read_state(out)
    except IntegrityError:
        if not force:
            raise
        return None
    is_on_images = state is None and (out / JOB).is_file()
    if not is_on_images and (state is None or state.key == key):
        return state
    if force:
        return None
    raise OutputExistsError(
        f"'{out}' has an unfinished training of other data or settings",
        hint="Continue it with the settings it began with; only `lr` may differ. Or begin again with `force`.",
    )


def _device(compute: Compute) -> tuple[torch.device, bool]:
    """The device, the first of several, and whether it computes in bf16."""
    from zsretrieve.encoders.torch.encoder import planned_encoding, resolve_device, torch_devices

    one = replace(compute, device=torch_devices(compute.device)[0])
    return resolve_device(one.device), planned_encoding(one).precision == Precision.BF16


def _key(gallery: Gallery, pairs: Pairs, name: ModelName, settings: TrainingSettings) -> str:
    """What identifies a training: all that decides its steps, apart from the learning rate."""
    captions = hashlib.sha256("\0".join(pairs.captions).encode("utf-8", "surrogatepass"))
    captions.update(pairs.rows.tobytes())
    for numbers in pairs.of_image:
        captions.update(numbers.tobytes() + b";")
    content = [weights_identity(name), gallery.revision, captions.hexdigest(), asdict(replace(settings, lr=None))]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
