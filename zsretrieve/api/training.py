"""Training models."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.api.captioned import Captioned, check_captions
from zsretrieve.api.indexes import open_gallery
from zsretrieve.api.prompts import Prompts
from zsretrieve.domain.errors import UsageError, ZsRetrieveError
from zsretrieve.domain.model_training import TrainedModel, TrainingPoint, TrainingSettings
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.image_sides import space_beside
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.gallery.search import selected
from zsretrieve.images.sources import Source
from zsretrieve.store.indexes import Gallery
from zsretrieve.system import extras
from zsretrieve.training import run
from zsretrieve.training.pairs import Pairs
from zsretrieve.training.place import check_place

_log = logging.getLogger("zsretrieve")


def train_from_gallery(
    out: PathLike,
    gallery: Gallery | PathLike,
    captions: PathLike | Source | None = None,
    model: ModelLike | None = None,
    *,
    classes: Prompts | PromptSet | None = None,
    templates: Prompts | None = None,
    settings: TrainingSettings | None = None,
    where: str | None = None,
    report: PathLike | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> TrainedModel:
    """Train the text side of a model against the stored image vectors of a gallery; no image is encoded, or read.

    The folder ``out`` becomes a model, ``local-dir:OUT``. Its image tower is that of the gallery's model, so it
    searches and classifies this gallery without re-encoding. An interrupted training continues when it is called
    again with the same arguments.

    Parameters
    ----------
    out : path
    gallery : Gallery or path
    captions : path or Source, optional
        A file with captions that name their images, see ``open_texts``; without it, captions are the labels in
        templates.
    model : Model or str, optional
        The model to begin with, by default the gallery's; it must have the gallery's image tower. Its ``Compute`` says
        where it is trained.
    classes, templates : optional
        Without captions: the classes that the labels are, by default the labels themselves, and the templates that
        make captions of them, see ``read_prompts``.
    settings : TrainingSettings, optional
    where : str, optional
        Only the gallery's images that pass this filter, see ``zsretrieve.domain.filters``.
    report : path, optional
        A page with plots, written after each measurement. An earlier report is replaced.
    force : bool
        Replace a model that was trained there before, or discard an unfinished training of something else.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OptionalDependencyError
        If the extra ``models`` is not installed.
    UsageError
        If arguments contradict each other, or the model cannot be trained this way.
    OutputExistsError
        If ``out`` holds something else, or a model, unless ``force`` is given.
    SpaceMismatchError
        If the model has another image tower than the gallery.
    SourceError, ClassMappingError, FilterError, PromptError
        If there are no captions or labels, all are the same, or nothing passes the filter.
    TrainingError
        If the loss becomes infinite or NaN; the best weights so far are kept for a new start.
    IndexFolderError
        If the system refuses to write.
    """
    extras.require_models("training")
    settings = settings or TrainingSettings()
    check_captions(captions, classes, templates)
    place = Path(out)
    check_place(place, force=force)
    if report is not None:
        from zsretrieve.reports import check_report

        check_report(report, force=force)
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu")
    model = as_model(model).named(opened.space.model)
    if opened.manifest.holds_texts:
        raise UsageError("this is a gallery of texts, not of images", hint="Give a gallery of images.")
    if model.is_given:
        raise UsageError("a loaded encoder cannot be trained", hint="Give the name of its `model`.")
    name = parse_model_name(str(model.name))
    run.check_trainable(name, model.compute)
    model.check(space_beside(model, opened.space))
    pairs = _pairs(opened, captions, classes, templates, where)
    shown = Shown(place, report, settings.steps_for(len(pairs.split(settings)[0])), force)
    with shown.until_over():
        return run.train_text_side(
            opened,
            pairs,
            name,
            settings,
            model.compute,
            place,
            force=force,
            on_progress=progress_of(on_stage, "training"),
            on_point=shown.point,
        )


@dataclass
class Shown:
    """What is shown of a training in ``out`` while it runs: a line and the page after each measurement."""

    out: Path
    report: PathLike | None
    steps: int
    force: bool
    points: Sequence[TrainingPoint] = ()

    def point(self, points: Sequence[TrainingPoint]) -> None:
        self.points, last = points, points[-1]
        figures = [f"loss {last.loss:.4g}"] if last.loss is not None else []
        for name, recall in (("text to image", last.text_to_image), ("image to text", last.image_to_text)):
            if recall is not None:
                figures.append(f"recall@1 {name} {100 * recall:.2f} %")
        _log.info(f"step {last.step:,} of {self.steps:,}: {', '.join((*figures, f'scale {last.scale:.4g}'))}")
        self._write(running=True)

    @contextlib.contextmanager
    def until_over(self) -> Iterator[None]:
        """Once the block ends, the page no longer says that the training runs, however it ended."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(ZsRetrieveError):
                self._write(running=False)
            raise
        self._write(running=False)

    def _write(self, *, running: bool) -> None:
        if self.report is not None and self.points:
            from zsretrieve.reports.training import write_training_report

            heading = f"Training of {self.out.name}"
            write_training_report(self.report, self.points, self.steps, heading, running=running, force=self.force)


def _pairs(
    gallery: Gallery,
    captions: PathLike | Source | None,
    classes: Prompts | PromptSet | None,
    templates: Prompts | None,
    where: str | None,
) -> Pairs:
    """The images of a gallery that pass a filter, with their captions."""
    chosen = selected(gallery, where)
    rows = list(range(len(gallery.items))) if chosen is None else chosen.tolist()
    items = [gallery.items[row] for row in rows]
    captioned = Captioned(
        [item.path for item in items],
        [gallery.path_of(item) for item in items],
        [item.label for item in items],
        str(gallery.folder or "in memory"),
    )
    pairs = captioned.described(captions) if captions is not None else captioned.labelled(classes, templates)
    return replace(pairs, rows=np.array(rows, dtype=np.int64)[pairs.rows])
