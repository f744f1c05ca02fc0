"""Training models on images with captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zsretrieve.api.captioned import Captioned, check_captions
from zsretrieve.api.prompts import Prompts
from zsretrieve.api.sources import SourceLike, open_source
from zsretrieve.api.training import Shown
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.model_training import ImageTrainingSettings, TrainedModel
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.settings import Compute, Precision, Reading
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm, parse_model_name
from zsretrieve.encoders.catalog.tables import architecture
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.images.sources import Source
from zsretrieve.system import extras
from zsretrieve.training import images, run
from zsretrieve.training.job import ImageJob
from zsretrieve.training.pairs import Pairs
from zsretrieve.training.place import check_place

# open_clip's words for how its trainer computes.
_PRECISIONS = {Precision.FP32: "fp32", Precision.BF16: "amp_bf16"}


def train(
    source: SourceLike,
    out: PathLike,
    model: ModelLike | None = None,
    captions: PathLike | Source | None = None,
    *,
    classes: Prompts | PromptSet | None = None,
    templates: Prompts | None = None,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    settings: ImageTrainingSettings | None = None,
    report: PathLike | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> TrainedModel:
    """Train a model on images with captions, by open_clip's trainer; the folder ``out`` becomes a model,
    ``local-dir:OUT``.

    An interrupted training continues after its last checkpoint when it is called again with the same arguments.

    Parameters
    ----------
    source : path, sequence of path or Source
        Images, see ``open_source``.
    out : path
    model : Model or str
        The model to begin with, or an architecture of open_clip such as ``ViT-B-32``, which begins with random
        weights; or, with ``settings.from_scratch``, a model whose configuration is taken. Its ``Compute`` says where it
        is trained and how precisely.
    captions : path or Source, optional
        A file with captions that name their images, see ``open_texts``; without it, captions are the labels in
        templates.
    classes, templates : optional
        Without captions: the classes that the labels are, by default the labels themselves, and the templates that
        make captions of them, see ``read_prompts``.
    reading : Reading, optional
    ground_truth : path, optional
        Labels for a flat folder or an archive, see ``open_source``.
    settings : ImageTrainingSettings, optional
    report : path, optional
        A page with plots, written after each measurement. An earlier report is replaced.
    force : bool
        Replace a model that was trained there before, or discard an unfinished training of something else.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OptionalDependencyError
        If the extra ``training`` is not installed.
    UsageError
        If arguments contradict each other, or the model cannot be trained.
    OutputExistsError
        If ``out`` holds something else, or a model, unless ``force`` is given.
    SourceError, ClassMappingError, PromptError
        If there are no images, captions or labels, or all are the same.
    ModelNameError, WeightsUnavailableError, DeviceError
        If the model cannot be loaded, or its device is not available.
    TrainingError
        If the loss becomes infinite or NaN, or the trainer fails; what it has saved is kept.
    IndexFolderError
        If the system refuses to write.
    """
    extras.require_training()
    settings, reading, place = settings or ImageTrainingSettings(), reading or Reading(), Path(out)
    check_captions(captions, classes, templates)
    check_place(place, force=force)
    if report is not None:
        from zsretrieve.reports import check_report

        check_report(report, force=force)
    model = Model.to_train(model) if isinstance(model, str) else as_model(model)
    name, settings = _begun(model, settings)
    opened = open_source(source, ground_truth=ground_truth) if not isinstance(source, Source) else source
    if opened.holds_texts:
        raise UsageError("these are texts, not images", hint="Give the images, and the texts as `captions`.")
    captioned = Captioned(
        [file.path for file in opened.files],
        [opened.address(file) for file in opened.files],
        [file.label for file in opened.files],
        opened.origin or opened.root,
    )
    pairs = captioned.described(captions) if captions is not None else captioned.labelled(classes, templates)
    pairs = replace(pairs, skipped=(*opened.skipped, *pairs.skipped))
    job = _job(opened, pairs, name, reading, settings, model.compute)
    folder = images.prepare(job, place, force=force)
    shown = Shown(place, report, job.steps, force)
    with shown.until_over():
        images.train(job, folder, on_progress=progress_of(on_stage, "training"), on_point=shown.point)
        return images.finish(job, folder, place, captioned.where)


def _begun(model: Model, settings: ImageTrainingSettings) -> tuple[ModelName, ImageTrainingSettings]:
    """The model to begin with, or an architecture's configuration; and the settings with what that means for them."""
    if model.is_given:
        raise UsageError("a loaded encoder cannot be trained", hint="Give the name of its `model`.")
    written = model.name or ""
    run.check_compute(model.compute)
    if architecture(written):
        # As a checkpoint of it would be, whose weights are not there yet.
        return ModelName(NameForm.CHECKPOINT, written, "", written), replace(settings, from_scratch=True)
    if not written:
        raise UsageError(
            "there is no model to train",
            hint="Give a `model` to begin with, or an architecture such as ViT-B-32, which begins with random weights.",
        )
    name = replace(parse_model_name(written), trusted=model.compute.trust_remote_code)
    run.check_trainable(name, model.compute)
    return name, settings


def _job(
    source: Source, pairs: Pairs, name: ModelName, reading: Reading, settings: ImageTrainingSettings, compute: Compute
) -> ImageJob:
    """What is trained on what."""
    from zsretrieve.encoders.torch.encoder import planned_encoding, resolve_device, torch_devices
    from zsretrieve.training.beginning import configuration_of, identity_of, own_loss

    devices = tuple(str(resolve_device(device)) for device in torch_devices(compute.device))
    processes = settings.processes or len(devices)
    if processes > len(devices) and ":" in devices[0]:
        raise UsageError(f"{processes} processes need as many GPUs", hint="Name them: `device` cuda:0,cuda:1")
    if settings.batch_size % processes:
        raise UsageError(
            f"a batch of {settings.batch_size} cannot be divided among {processes} processes",
            hint="Give a `batch_size` that can.",
        )
    trained_on, held_out = pairs.split(settings)
    job = ImageJob(
        key="",
        name=name,
        loss=own_loss(settings.loss, configuration_of(name)),
        source=replace(source, skipped=(), left_out=()),
        pairs=pairs,
        images=trained_on,
        held_out=held_out,
        reading=reading,
        settings=settings,
        devices=devices,
        processes=processes,
        precision=_PRECISIONS[Precision(planned_encoding(replace(compute, device=devices[0])).precision)],
    )
    if processes > 1 and len(trained_on) < settings.batch_size:
        raise UsageError(
            f"{len(trained_on)} images are fewer than a batch of {settings.batch_size}, which several processes share",
            hint="Give a smaller `batch_size`, or one process.",
        )
    return images.keyed(job, identity_of(name, from_scratch=settings.from_scratch))
