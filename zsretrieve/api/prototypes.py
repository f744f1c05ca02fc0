"""Prototype indexes: from prompts, from labelled images, as probes and adapters; and what a few images are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zsretrieve.api.indexes import cpu_backend, open_gallery, open_prototypes
from zsretrieve.api.models import calibrate_once
from zsretrieve.api.prompts import Prompts, names_of_labels, read_prompts
from zsretrieve.api.sources import SourceLike, refuse_compute, source_or_gallery
from zsretrieve.backends import loading as backend_loading
from zsretrieve.domain.arguments import Scale, Share
from zsretrieve.domain.errors import OutputExistsError, UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.shots import AdapterSettings, CurveSettings, Regularisation, Shots
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.encoders.image_sides import space_beside
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.encoding.batches import encode_source
from zsretrieve.evaluation.labelled import labelled_gallery, labelled_source
from zsretrieve.gallery.search import selected
from zsretrieve.images.sources import Source
from zsretrieve.prototypes import adapters as _adapters
from zsretrieve.prototypes import images as _images
from zsretrieve.prototypes import learning_curve as _learning_curve
from zsretrieve.prototypes import probe as _probe
from zsretrieve.prototypes import text as _text
from zsretrieve.prototypes.adapters import TrainedAdapter
from zsretrieve.prototypes.images import TrainedPrototypes, TrainingImages
from zsretrieve.prototypes.learning_curve import FewShotCurve
from zsretrieve.prototypes.probe import TrainedProbe
from zsretrieve.prototypes.text import BuiltPrototypes
from zsretrieve.store import folder as folders
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.named import folder_of

_PROMPTS = "encoding prompts"


def build_prototypes(
    out: PathLike,
    classes: Prompts | PromptSet,
    model: ModelLike | None = None,
    *,
    templates: Prompts | None = None,
    scale: Scale | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> BuiltPrototypes:
    """Build a prototype index from prompts in the folder ``out``.

    Parameters
    ----------
    out : path
    classes, templates : optional
        See ``read_prompts``.
    model : Model, Encoder or str, optional
        The default model unless another is given.
    scale : float, optional
        Of scores in probabilities, kept in the index in place of the model's own.
    force : bool
        Replace an index that is there already.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    PromptError, OutputExistsError
        See ``read_prompts`` and ``zsretrieve.prototypes.text``.
    """
    prompts = _prompts(classes, templates)
    folders.check_output(folder_of(out), force=force)
    model = as_model(model)
    model.note_text_only()
    encoder, on_progress = model.load(), progress_of(on_stage, _PROMPTS)
    return _text.build_prototypes(
        folder_of(out), prompts, encoder, cpu_backend(), scale=scale, force=force, on_progress=on_progress
    )


def make_prototypes(
    classes: Prompts | PromptSet,
    model: ModelLike | None = None,
    *,
    templates: Prompts | None = None,
    device: str = "auto",
    half: bool = False,
    on_stage: OnStage | None = None,
) -> BuiltPrototypes:
    """Prototypes in memory, for a list of classes that needs no index of its own; prompts that were encoded before come
    from the user's cache folder.

    ``device`` and ``half``: see ``open_prototypes``; the others: see ``build_prototypes``.
    """
    prompts = _prompts(classes, templates)
    backend = backend_loading.index_backend(device, half=half)
    model = as_model(model)
    encoder = model.load()
    memory, on_progress = model.prompt_memory(encoder.space), progress_of(on_stage, _PROMPTS)
    return _text.make_prototypes(prompts, encoder, backend, memory=memory, on_progress=on_progress)


def build_image_prototypes(
    out: PathLike,
    source: SourceLike | Gallery,
    model: ModelLike | None = None,
    *,
    shots: Shots | None = None,
    classes: Prompts | PromptSet | None = None,
    templates: Prompts | None = None,
    text_weight: Share | None = None,
    scale: Scale | None = None,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> TrainedPrototypes:
    """Build a prototype index in the folder ``out`` from labelled images; those of a gallery are not encoded again.

    Parameters
    ----------
    out : path
    source : path, sequence of path, Source or Gallery
        Labelled images.
    model : Model, Encoder or str, optional
        By default the gallery's model, or the default model where there is no gallery. For a gallery it is loaded only
        to encode prompts.
    shots : Shots, optional
        All images by default.
    classes, templates : optional
        As for ``read_prompts``; by default the classes are the labels that occur.
    text_weight : float, optional
        Mix text prototypes in, with this weight from 0 to 1.
    scale : float, optional
        Of scores in probabilities, kept in the index in place of the model's own.
    reading : Reading, optional
    ground_truth : path, optional
        Labels for a flat folder or an archive, see ``open_source``.
    where : str, optional
        Only the gallery's images that pass this filter, see ``zsretrieve.domain.filters``.
    force : bool
        Replace an index that is there already.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    UsageError
        If options contradict each other or the source.
    SourceError, ClassMappingError, SpaceMismatchError, OutputExistsError
        See ``zsretrieve.prototypes.images``.
    """
    if templates is not None and text_weight is None:
        raise UsageError("templates have no effect on prototypes of images", hint="Mix text in with `text_weight`.")
    folders.check_output(folder_of(out), force=force)
    mixed, shots = text_weight is not None, shots or Shots()
    images = _Images.open(source, reading, ground_truth, where)
    images.check_not_replaced(folder_of(out))
    prompts = images.classes(classes, templates, prompted=mixed)
    _images.check_labels(images.labels, prompts, shots, fill=mixed)
    chosen = images.model(model, prompted=mixed)
    training_images = images.label(prompts, chosen, on_stage)
    text = None
    if mixed:
        encoder = chosen.load(space_beside(chosen, training_images.labelled.space))
        progress = progress_of(on_stage, _PROMPTS)
        text = _text.make_prototypes(prompts, encoder, cpu_backend(), on_progress=progress).prototypes
    trained = _images.image_prototypes(training_images, shots, cpu_backend(), text=text, text_weight=text_weight)
    return _images.write_trained(folder_of(out), trained, scale=scale, force=force)


def train_probe(
    source: SourceLike | Gallery,
    out: PathLike,
    model: ModelLike | None = None,
    *,
    shots: Shots | None = None,
    regularisation: Regularisation | None = None,
    classes: Prompts | PromptSet | None = None,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> TrainedProbe:
    """Train a linear probe on labelled images and write it to the folder ``out`` as a prototype index.

    ``regularisation``: swept by default, see ``zsretrieve.prototypes.probe``; the others: see
    ``build_image_prototypes``.
    """
    folders.check_output(folder_of(out), force=force)
    shots = shots or Shots()
    images = _Images.open(source, reading, ground_truth, where)
    images.check_not_replaced(folder_of(out))
    prompts = images.classes(classes)
    _images.check_labels(images.labels, prompts, shots)
    _probe.check_classes(len(prompts.class_names))
    training_images = images.label(prompts, images.model(model), on_stage)
    on_progress = progress_of(on_stage, "choosing the regularisation")
    probe = _probe.train_probe(
        training_images, shots, cpu_backend(), regularisation=regularisation, on_progress=on_progress
    )
    return _images.write_trained(folder_of(out), probe, force=force)


def train_adapter(
    source: SourceLike | Gallery,
    out: PathLike,
    prototypes: Prototypes | PathLike,
    model: ModelLike | None = None,
    *,
    shots: Shots | None = None,
    settings: AdapterSettings | None = None,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> TrainedAdapter:
    """Adapt text prototypes by labelled images, and write the result to the folder ``out`` as a prototype index.

    Parameters
    ----------
    source : path, sequence of path, Source or Gallery
        Labelled images, of every class of the prototypes.
    out : path
    prototypes : Prototypes or path
        Text prototypes, whose classes and scale count.
    model : Model, Encoder or str, optional
        For images that are not in a gallery; by default the model of the prototypes.
    settings : AdapterSettings, optional
        Tip-Adapter with searched weights by default.

    The other parameters, and the errors, are those of ``build_image_prototypes``.
    """
    folders.check_output(folder_of(out), force=force)
    settings, shots = settings or AdapterSettings(), shots or Shots()
    images, text, chosen = _with_text(source, prototypes, model, reading, ground_truth, where)
    images.check_not_replaced(folder_of(out))
    if text.folder is not None and folder_of(out).resolve() == text.folder.resolve():
        raise OutputExistsError(f"'{out}' is the text prototypes themselves", hint="Give another output folder.")
    _images.check_labels(images.labels, text.prompts, shots)
    _probe.check_classes(len(text.prompts.class_names), "an adapter")
    labelled = images.label(text.prompts, chosen, on_stage)
    trained = _adapters.train_adapter(labelled, shots, text, cpu_backend(), settings)
    return _images.write_trained(folder_of(out), trained, force=force)


def few_shot_curve(
    source: SourceLike | Gallery,
    prototypes: Prototypes | PathLike,
    model: ModelLike | None = None,
    *,
    settings: CurveSettings | None = None,
    test: PathLike | Gallery | None = None,
    reading: Reading | None = None,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    on_stage: OnStage | None = None,
) -> FewShotCurve:
    """Zero-shot, multi-shot, a probe and adapters against the number of labelled images per class.

    Parameters
    ----------
    source : path, sequence of path, Source or Gallery
        Labelled images to draw from.
    prototypes : Prototypes or path
        The zero-shot text prototypes, whose classes count.
    model : Model, Encoder or str, optional
        For images that are not in a gallery; by default the model of the prototypes.
    settings : CurveSettings, optional
    test : path or Gallery, optional
        What is scored; by default a held-out share of each class of ``source``.

    The other parameters, and the errors, are those of ``build_image_prototypes``.
    """
    settings = settings or CurveSettings()
    images, text, chosen = _with_text(source, prototypes, model, reading, ground_truth, where)
    if settings.drawn:
        most = Shots(settings.drawn[-1], allow_fewer=settings.allow_fewer)
        _images.check_labels(images.labels, text.prompts, most)
    scored = None
    if test is not None:
        gallery = test if isinstance(test, Gallery) else open_gallery(test, device="cpu")
        check_same_images(gallery.space, "the test gallery", text.space, "the prototype index")
        scored = labelled_gallery(gallery, text.prompts)
    labelled = images.label(text.prompts, chosen, on_stage).labelled
    on_progress = progress_of(on_stage, "training on drawn images")
    return _learning_curve.few_shot_curve(labelled, text, cpu_backend(), settings, test=scored, on_progress=on_progress)


def _with_text(
    source: SourceLike | Gallery,
    prototypes: Prototypes | PathLike,
    model: ModelLike | None,
    reading: Reading | None,
    ground_truth: PathLike | None,
    where: str | None,
) -> tuple[_Images, Prototypes, Model]:
    """Labelled images, text prototypes, and the model of both."""
    images = _Images.open(source, reading, ground_truth, where)
    text = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes, device="cpu")
    _images.check_text(text)
    chosen = images.model(as_model(model).named(text.space.model))
    chosen.check(space_beside(chosen, text.space))
    return images, text, chosen


def prompts_of_labels(labels: Sequence[str | None], templates: Prompts | None) -> PromptSet:
    """The labels that occur as classes, in templates. Raises as ``classes_of_labels`` does."""
    of_labels = _images.classes_of_labels(labels)
    named = names_of_labels(of_labels.class_names)
    # Of a bundled set of classes, those that occur.
    rows = [row for row, key in enumerate(named.keys) if key is None or key in of_labels.class_names]
    prompts = read_prompts([named.names[row] for row in rows], templates)
    keys = tuple(named.keys[row] for row in rows)
    return replace(prompts, class_keys=keys, classes_source=of_labels.classes_source)


def _prompts(classes: Prompts | PromptSet, templates: Prompts | None) -> PromptSet:
    return classes if isinstance(classes, PromptSet) else read_prompts(classes, templates)


@dataclass(frozen=True)
class _Images:
    """Labelled images before they are encoded: a gallery, perhaps filtered, or a source."""

    opened: Source | Gallery
    reading: Reading
    where: str | None

    @classmethod
    def open(
        cls, source: SourceLike | Gallery, reading: Reading | None, ground_truth: PathLike | None, where: str | None
    ) -> _Images:
        reading = reading or Reading()
        opened = source_or_gallery(source, reading, ground_truth=ground_truth, where=where, device="cpu")
        return cls(opened, reading, where)

    def check_not_replaced(self, out: Path) -> None:
        """Raise OutputExistsError if the gallery would be lost to what is made of it."""
        folder = self.opened.folder if isinstance(self.opened, Gallery) else None
        if folder is not None and out.exists() and out.samefile(folder):
            raise OutputExistsError(
                f"'{out}' is the gallery of the labelled images itself", hint="Give another output folder."
            )

    @property
    def labels(self) -> list[str | None]:
        """The label of every image; equal images count once, as far as they are known to be equal without reading."""
        if isinstance(self.opened, Source):
            return [file.label for file in self.opened.files]
        rows = selected(self.opened, self.where)
        items = self.opened.items if rows is None else [self.opened.items[row] for row in rows]
        return [label for label, _ in dict.fromkeys((item.label, item.digest or item.path) for item in items)]

    def classes(
        self, classes: Prompts | PromptSet | None, templates: Prompts | None = None, *, prompted: bool = False
    ) -> PromptSet:
        """The classes that are named, or else the labels that occur, which have prompts if ``prompted``."""
        if classes is not None:
            return _prompts(classes, templates)
        return prompts_of_labels(self.labels, templates) if prompted else _images.classes_of_labels(self.labels)

    def model(self, model: ModelLike | None, *, prompted: bool = False) -> Model:
        """The model that is meant; for a gallery its own, unless another with the same weights is given.

        Raises UsageError if it says how to encode, and nothing is: neither images nor, if ``prompted``, texts.
        """
        chosen = as_model(model)
        if isinstance(self.opened, Gallery) and not prompted:
            refuse_compute(chosen.compute)
        if isinstance(self.opened, Gallery):
            chosen = chosen.named(self.opened.space.model)
            chosen.check(space_beside(chosen, self.opened.space))
        return chosen

    def label(self, prompts: PromptSet, model: Model, on_stage: OnStage | None) -> TrainingImages:
        """The images with their vectors and classes; those of a source are encoded."""
        if isinstance(self.opened, Gallery):
            gallery = self.opened
            labelled = labelled_gallery(gallery, prompts, where=self.where)
            name = "a gallery in memory" if gallery.folder is None else str(gallery.folder.absolute())
            return TrainingImages(labelled, gallery.manifest.head, gallery.manifest.encoding, name)
        source = self.opened
        calibrate_once(model, source, self.reading, on_stage)
        encoded = encode_source(source, model, self.reading, on_progress=progress_of(on_stage, "encoding images"))
        encoder = model.load()
        labelled = labelled_source(encoded, source.root, prompts, encoder.space)
        encoding = replace(encoder.encoding, exif=self.reading.exif, decoding=self.reading.decoding)
        return TrainingImages(
            labelled, encoder.head, encoding, source.origin or source.root or "images named one by one"
        )
