"""The published tables, run again: model by model, resumable, our figures beside the published ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from zsretrieve import addresses
from zsretrieve.errors import ClassMappingError, ImageError, OutputExistsError, WeightsUnavailableError
from zsretrieve.metrics import hits_at, wilson
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.prompts import prompt_digest
from zsretrieve.records import PromptSet, Skipped
from zsretrieve.results import Interval
from zsretrieve.sources import Source
from zsretrieve.store import manifest as passport
from zsretrieve.store.indexes import Gallery, open_gallery
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.ahead import EXACT, Reading
from zsretrieve.verbs.build import make_prototypes
from zsretrieve.verbs.gallery import build_gallery
from zsretrieve.verbs.labelled import class_ids, labelled_gallery
from zsretrieve.verbs.published import SUPERVISED, Figure, Table, TableModel

OnStage = Callable[[str, int, int], None]

_FORMAT = 1
_RESULT = "result.json"
_GALLERY = "gallery"
# As the papers read pictures: undisturbed by EXIF orientation, decoded in full.
_READING = Reading(exif=False)


@dataclass(frozen=True)
class Settings:
    """How the models are run; what is asked for, ``auto`` included."""

    device: str = "auto"
    precision: str = "fp32"
    engine: str = "auto"


@dataclass(frozen=True)
class Row:
    """One model with one set of templates: ours beside the published.

    ``comparable`` tells whether the figures are of as many images, and every class occurs. Differences are in points,
    to the first of ``figures``.
    """

    model: str
    title: str
    templates: str
    n_correct: int
    n_scored: int
    n_skipped: int
    figures: tuple[Figure, ...]
    tolerance: float
    comparable: bool

    @property
    def prec_at_1(self) -> float:
        return self.n_correct / self.n_scored

    @property
    def interval(self) -> Interval:
        """The Wilson interval of Prec@1."""
        return wilson(self.n_correct, self.n_scored)

    @property
    def difference(self) -> float | None:
        return 100 * self.prec_at_1 - self.figures[0].percent if self.figures else None

    @property
    def off(self) -> bool | None:
        """Whether the difference is beyond the tolerance; None where there is nothing to compare with."""
        if self.difference is None or not self.comparable:
            return None
        # Both figures are decimal, so that 63.6 is not more than 0.3 above 63.3.
        return round(abs(self.difference) - self.tolerance, 9) > 0


@dataclass(frozen=True)
class Failed:
    """A model that could not be had, and why."""

    model: str
    reason: str


@dataclass(frozen=True)
class Reproduction:
    """A table that was run.

    ``n_images`` are those of the source, with and without labels, and ``n_classes_scored`` the classes of those that
    were scored; ``data`` is the sha256 of names, labels, sizes and times of the images.
    """

    table: Table
    settings: Settings
    rows: tuple[Row, ...]
    failed: tuple[Failed, ...]
    n_images: int
    n_classes: int
    n_classes_scored: int
    data: str
    skipped: tuple[Skipped, ...]


class Models(Protocol):
    """Where models come from."""

    def identity(self, name: str) -> str | None:
        """What identifies the weights, or None if only loading tells."""
        ...

    def load(self, name: str) -> Encoder:
        """Raises WeightsUnavailableError if they cannot be had."""
        ...


class SupervisedEncoder(Encoder, Protocol):
    """A classifier that was trained on the classes: it has their vectors itself."""

    def class_vectors(self, keys: Sequence[str | None]) -> Vectors:
        """Prototypes of classes by synset id, float32 of shape (len(keys), dim). Raises ClassMappingError."""
        ...


def is_supervised(name: str) -> bool:
    """Whether a model of a table is a supervised classifier, which takes no prompts."""
    return name.startswith("torchvision:")


def reproduce(
    table: Table,
    source: Source,
    prompts: Mapping[str, PromptSet],
    work: Path,
    models: Models,
    backend: IndexBackend,
    settings: Settings,
    *,
    on_stage: OnStage | None = None,
) -> Reproduction:
    """Run every model of a table with every set of templates.

    What is done lies in ``work``, in a folder for each model, images and settings: the gallery, which goes on where it
    was interrupted, and the counts of each set of templates. The same call finds them, and gives the same figures.

    Parameters
    ----------
    table : Table
    source : Source
        Labelled pictures.
    prompts : mapping of str to PromptSet
        The classes of the table with each of its templates.
    work : Path
    models : Models
    backend : IndexBackend
    settings : Settings
    on_stage : callable, optional
        Called with (what is done, count, of how many).

    Raises
    ------
    ClassMappingError
        If a label is none of the classes.
    SourceError
        If no picture has a label, or none can be read.
    WeightsUnavailableError
        If not one of the models can be had; where some can, the others are told as failed.
    """
    some = next(iter(prompts.values()))
    class_ids([file.label for file in source.files], some)  # what is wrong with them is told before hours are spent
    n_classes, n_occurring = len(some.class_names), 0
    digest = data_digest(source)
    rows: list[Row] = []
    failed: list[Failed] = []
    skipped: tuple[Skipped, ...] = source.skipped
    for model in table.models:
        try:
            wanted = {SUPERVISED: some} if is_supervised(model.name) else prompts
            counts, left_out = _run(model, source, digest, work, models, backend, settings, on_stage, wanted)
        except (WeightsUnavailableError, ClassMappingError) as error:
            failed.append(Failed(model.name, error.message))
            continue
        skipped = left_out if len(left_out) > len(skipped) else skipped
        for templates, count in counts.items():
            n_occurring = max(n_occurring, count.n_classes)
            comparable = count.n_classes == n_classes and table.images in (None, count.n_scored)
            figures = tuple(figure for figure in model.figures if figure.templates == templates)
            rows.append(
                Row(
                    model.name, model.title, templates, count.n_correct, count.n_scored, count.n_skipped, figures,
                    table.tolerance, comparable,
                )
            )  # fmt: skip
    if not rows:
        raise WeightsUnavailableError(
            f"none of the {len(failed)} models can be had; the first is '{failed[0].model}': {failed[0].reason}",
            hint="Check the network and HF_HUB_OFFLINE, or name models on disk: --models none --model local-dir:PATH.",
        )
    return Reproduction(
        table, settings, tuple(rows), tuple(failed), len(source.files), n_classes, n_occurring, digest, skipped
    )


def data_digest(source: Source) -> str:
    """The sha256 of the names, labels, sizes and times of the pictures of a source, in their order."""
    digest = hashlib.sha256()
    for file in source.files:
        try:
            found = addresses.state(source.address(file))
            state = f"{found.bytes}\0{found.mtime_ns}"
        except ImageError:
            state = "unreadable"
        label = "" if file.label is None else file.label
        digest.update(os.fsencode(file.path) + b"\0" + os.fsencode(label) + f"\0{state}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Count:
    templates: str
    n_correct: int
    n_scored: int
    n_skipped: int
    n_classes: int


def _run(
    model: TableModel,
    source: Source,
    data: str,
    work: Path,
    models: Models,
    backend: IndexBackend,
    settings: Settings,
    on_stage: OnStage | None,
    prompts: Mapping[str, PromptSet],
) -> tuple[dict[str, _Count], tuple[Skipped, ...]]:
    """The counts of one model and what was skipped; nothing keeps the model in memory when the next one is loaded."""
    run = _ModelRun(model, source, data, work, models, backend, settings, on_stage)
    return run.counts(prompts), run.skipped


class _ModelRun:
    """One model of the table."""

    def __init__(
        self,
        model: TableModel,
        source: Source,
        data: str,
        work: Path,
        models: Models,
        backend: IndexBackend,
        settings: Settings,
        on_stage: OnStage | None,
    ) -> None:
        self._model = model
        self._source = source
        self._models = models
        self._backend = backend
        self._on_stage = on_stage
        self._loaded: Encoder | None = None
        self._gallery: Gallery | None = None
        self.skipped: tuple[Skipped, ...] = ()
        weights = models.identity(model.name) or self._encoder.space.weights
        self._decided_by: dict[str, Any] = {
            "format": _FORMAT, "weights": weights, "data": data, **asdict(settings), "exif": False, "decoding": EXACT,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(self._decided_by, sort_keys=True).encode()).hexdigest()[:12]
        # The end of a long name tells more than its beginning: it may be a path.
        plain = re.sub(r"[^\w.-]+", "-", model.name)[-60:].strip("-.")
        self._folder = work / f"{plain}-{key}"

    def counts(self, prompts: Mapping[str, PromptSet]) -> dict[str, _Count]:
        """The counts of each set of templates, kept as soon as they are known."""
        kept = self._read()
        for templates, group in prompts.items():
            digest = prompt_digest(group)
            if digest not in kept:
                kept[digest] = self._count(templates, group)
                self._write(kept)
        return {templates: kept[prompt_digest(group)] for templates, group in prompts.items()}

    def _count(self, templates: str, prompts: PromptSet) -> _Count:
        if templates == SUPERVISED:
            # Classes that are not the classifier's are told before an hour is spent on pictures.
            vectors = cast(SupervisedEncoder, self._encoder).class_vectors(prompts.class_keys)
            index = self._backend.create(vectors.shape[1])
            index.add(vectors)
            gallery = self._built()
        else:
            gallery = self._built()
            what = f"{self._model.title}: prompts, {templates}"
            index = make_prototypes(
                prompts, self._encoder, self._backend, on_progress=lambda done, total: self._tell(what, done, total)
            ).prototypes.index
        labelled = labelled_gallery(gallery, prompts)
        _, ranked = index.search(labelled.vectors, 1)
        n_correct = int(hits_at(ranked, labelled.truth, 1).sum())
        n_classes = len(np.unique(labelled.truth))
        return _Count(templates, n_correct, len(labelled.truth), len(labelled.skipped), n_classes)

    def _built(self) -> Gallery:
        if self._gallery is None:
            out = self._folder / _GALLERY
            if passport.is_index(out):
                self._gallery = open_gallery(out, self._backend)
            else:
                what = f"{self._model.title}: images"
                encoder = self._encoder
                self._folder.mkdir(parents=True, exist_ok=True)
                try:
                    self._gallery = build_gallery(
                        out, self._source, encoder, self._backend, _READING,
                        on_progress=lambda done, total: self._tell(what, done, total),
                    ).gallery  # fmt: skip
                except OutputExistsError as error:
                    # Begun from another folder of the same images, or on a machine with another engine.
                    raise OutputExistsError(
                        error.message,
                        hint=f"Finish it with the command that began it, or delete '{self._folder}' and begin anew.",
                    ) from error
            self.skipped = self._gallery.manifest.skipped
        return self._gallery

    @property
    def _encoder(self) -> Encoder:
        if self._loaded is None:
            self._tell(f"{self._model.title}: loading", 0, 1)
            self._loaded = self._models.load(self._model.name)
            self._tell(f"{self._model.title}: loading", 1, 1)
        return self._loaded

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._on_stage is not None:
            self._on_stage(what, done, total)

    def _read(self) -> dict[str, _Count]:
        try:
            content = json.loads((self._folder / _RESULT).read_text(encoding="utf-8"))
            if content["decided_by"] != self._decided_by:
                return {}
            counts = {digest: _Count(**count) for digest, count in content["counts"].items()}
            self.skipped = tuple(Skipped(str(path), str(reason)) for path, reason in content["skipped"])
            return counts
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _write(self, counts: Mapping[str, _Count]) -> None:
        content = {
            "model": self._model.name,
            "decided_by": self._decided_by,
            "counts": {digest: asdict(count) for digest, count in counts.items()},
            "skipped": [[one.path, one.reason] for one in self.skipped],
        }
        beside = self._folder / f".{_RESULT}.{os.getpid()}"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._folder / _RESULT)
        finally:
            beside.unlink(missing_ok=True)
