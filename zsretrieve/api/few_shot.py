"""Prototypes from pictures, probes and few-shot curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zsretrieve.api.asking import refuse_filter, refuse_skips
from zsretrieve.api.building import read_prompts
from zsretrieve.api.finding import open_source
from zsretrieve.api.lab_inputs import names_of_labels
from zsretrieve.api.models import load_encoder
from zsretrieve.api.opening import PathLike, cpu_backend, is_index, open_gallery, open_prototypes
from zsretrieve.errors import OutputExistsError
from zsretrieve.ports import Encoder
from zsretrieve.records import Encoding, Head, PromptSet
from zsretrieve.sources import Source
from zsretrieve.store import folder as folders
from zsretrieve.store.indexes import Gallery, Prototypes, check_same_space
from zsretrieve.verbs import curve as _curve
from zsretrieve.verbs import few_shot as _few_shot
from zsretrieve.verbs import probing as _probing
from zsretrieve.verbs.ahead import EXACT, FAST
from zsretrieve.verbs.build import make_prototypes
from zsretrieve.verbs.curve import DEFAULT_HELD_OUT, DEFAULT_SEEDS, DEFAULT_SHOTS, FewShotCurve, OnRun
from zsretrieve.verbs.encode import OnProgress, encode_source
from zsretrieve.verbs.few_shot import Trained
from zsretrieve.verbs.labelled import Labelled, labelled_gallery, labelled_source
from zsretrieve.verbs.probing import DEFAULT_VALIDATION, OnStep, TrainedProbe
from zsretrieve.verbs.selecting import selected


@dataclass(frozen=True)
class LabelledPictures:
    """Labelled pictures, what the model makes of scores, how their vectors were computed, and where they come from."""

    labelled: Labelled
    head: Head
    encoding: Encoding
    source: str


def build_image_prototypes(
    out: PathLike,
    source: PathLike | Source | Gallery,
    encoder: Encoder | None = None,
    *,
    shots: int | None = None,
    seed: int = 0,
    classes: PathLike | Sequence[str] | PromptSet | None = None,
    templates: PathLike | Sequence[str] | None = None,
    text_weight: float | None = None,
    allow_fewer: bool = False,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Build a prototype index in the folder ``out`` from labelled pictures; of a gallery nothing is encoded.

    Parameters
    ----------
    out : path
    source : path, Source or Gallery
        Labelled pictures.
    encoder : Encoder, optional
        For pictures that are no gallery, and for text prototypes; by default the model of the gallery, or the default
        model where there is none.
    shots : int, optional
        Pictures of each class; all by default.
    seed : int
        Which are drawn.
    classes, templates : optional
        As for ``read_prompts``; by default the classes are the labels that occur.
    text_weight : float, optional
        Mix text prototypes in, by this weight from 0 to 1.
    allow_fewer : bool
        Take all pictures of a class that has fewer than ``shots``.

    Raises
    ------
    SourceError, ClassMappingError, SpaceMismatchError, OutputExistsError
        See ``zsretrieve.verbs.few_shot``.
    """
    folders.check_output(Path(out), force=force)
    found = _opened(source, ground_truth)
    _check_not_replaced(Path(out), found)
    prompts = few_shot_classes(found, classes, templates, where=where, prompted=text_weight is not None)
    check_shots(found, prompts, shots, allow_fewer=allow_fewer, fill=text_weight is not None, where=where)
    if encoder is None and isinstance(found, Source):
        encoder = load_encoder()
    elif encoder is None and isinstance(found, Gallery) and text_weight is not None:
        encoder = load_encoder(found.space.model)
    pictures = label_pictures(
        found, prompts, encoder, where=where, exif=exif, strict=strict, max_pixels=max_pixels, fast_decode=fast_decode,
        on_progress=on_progress,
    )  # fmt: skip
    text = None
    if text_weight is not None:
        assert encoder is not None
        check_same_space(pictures.labelled.space, "the images", encoder.space, "the encoder of the prompts")
        text = make_prototypes(prompts, encoder, cpu_backend()).prototypes
    made = _few_shot.image_prototypes(
        pictures.labelled, pictures.head, pictures.encoding, cpu_backend(), source=pictures.source, shots=shots,
        seed=seed, text=text, text_weight=text_weight, allow_fewer=allow_fewer,
    )  # fmt: skip
    return _few_shot.write_trained(Path(out), made, force=force)


def train_probe(
    source: PathLike | Source | Gallery,
    out: PathLike,
    encoder: Encoder | None = None,
    *,
    shots: int | None = None,
    seed: int = 0,
    classes: PathLike | Sequence[str] | PromptSet | None = None,
    c: float | None = None,
    validation: float = DEFAULT_VALIDATION,
    allow_fewer: bool = False,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    force: bool = False,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
) -> TrainedProbe:
    """Train a linear probe on labelled pictures and write it to the folder ``out`` as a prototype index.

    ``c`` and ``validation``: see ``zsretrieve.verbs.probing.train_probe``; the others: see ``build_image_prototypes``.
    """
    folders.check_output(Path(out), force=force)
    found = _opened(source, ground_truth)
    _check_not_replaced(Path(out), found)
    prompts = few_shot_classes(found, classes, where=where)
    check_shots(found, prompts, shots, allow_fewer=allow_fewer, where=where)
    _probing.check_probe(len(prompts.class_names), c, validation)
    pictures = label_pictures(
        found, prompts, encoder, where=where, exif=exif, strict=strict, max_pixels=max_pixels, fast_decode=fast_decode,
        on_progress=on_progress,
    )  # fmt: skip
    probe = _probing.train_probe(
        pictures.labelled, pictures.encoding, cpu_backend(), source=pictures.source, shots=shots, seed=seed, c=c,
        validation=validation, allow_fewer=allow_fewer, on_step=on_step,
    )  # fmt: skip
    return replace(probe, made=_few_shot.write_trained(Path(out), probe.made, force=force))


def few_shot_curve(
    source: PathLike | Source | Gallery,
    prototypes: Prototypes | PathLike,
    encoder: Encoder | None = None,
    *,
    test: PathLike | Gallery | None = None,
    held_out: float = DEFAULT_HELD_OUT,
    shots: Sequence[int] = DEFAULT_SHOTS,
    seeds: int = DEFAULT_SEEDS,
    first_seed: int = 0,
    text_weight: float | None = None,
    c: float | None = None,
    validation: float = DEFAULT_VALIDATION,
    allow_fewer: bool = False,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    on_progress: OnProgress | None = None,
    on_run: OnRun | None = None,
) -> FewShotCurve:
    """Zero-shot, multi-shot and a probe against the number of labelled pictures of each class.

    Parameters
    ----------
    source : path, Source or Gallery
        Labelled pictures to draw from.
    prototypes : Prototypes or path
        The zero-shot text prototypes, whose classes these are.
    encoder : Encoder, optional
        For pictures that are no gallery; by default the model of the prototypes.
    test : path or Gallery, optional
        What is scored; by default ``held_out`` of each class of ``source``.
    shots, text_weight, c, validation, allow_fewer, on_run
        See ``zsretrieve.verbs.curve.few_shot_curve``.
    seeds, first_seed : int
        How many draws, and the seed of the first.
    """
    found = _opened(source, ground_truth)
    text = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes)
    _few_shot.check_text(text)
    most = max(shots, default=0)
    if most:
        check_shots(found, text.prompts, most, allow_fewer=allow_fewer, where=where)
    scored = None
    if test is not None:
        gallery = test if isinstance(test, Gallery) else open_gallery(test, device="cpu")
        check_same_space(gallery.space, "the test gallery", text.space, "the prototype index")
        scored = labelled_gallery(gallery, text.prompts)
    if encoder is None and not isinstance(found, Gallery):
        encoder = load_encoder(text.space.model)
    pictures = label_pictures(
        found, text.prompts, encoder, where=where, exif=exif, strict=strict, max_pixels=max_pixels,
        fast_decode=fast_decode, on_progress=on_progress,
    )  # fmt: skip
    return _curve.few_shot_curve(
        pictures.labelled, text, cpu_backend(), test=scored, share=held_out, shots=shots,
        seeds=tuple(range(first_seed, first_seed + seeds)), text_weight=text_weight, c=c, validation=validation,
        allow_fewer=allow_fewer, on_run=on_run,
    )  # fmt: skip


def few_shot_classes(
    found: Source | Gallery,
    classes: PathLike | Sequence[str] | PromptSet | None = None,
    templates: PathLike | Sequence[str] | None = None,
    *,
    where: str | None = None,
    prompted: bool = False,
) -> PromptSet:
    """The classes that are asked for, or else those of the labels that occur, which have prompts if ``prompted``.

    Raises ClassMappingError if the labels are to be put into templates, and are no names.
    """
    if isinstance(classes, PromptSet):
        return classes
    if classes is not None:
        return read_prompts(classes, templates)
    of_labels = _few_shot.classes_of_labels(_labels(found, where))
    if not prompted:
        return of_labels
    named = names_of_labels(of_labels.class_names)
    if any(named.keys):
        # Of all classes of the set those that occur.
        some = [row for row, key in enumerate(named.keys) if key in of_labels.class_names]
        named = replace(
            named, names=tuple(named.names[row] for row in some), keys=tuple(named.keys[row] for row in some)
        )
    prompts = read_prompts(named.names, templates)
    return replace(prompts, class_keys=named.keys, classes_source=of_labels.classes_source)


def check_shots(
    found: Source | Gallery,
    prompts: PromptSet,
    shots: int | None,
    *,
    allow_fewer: bool = False,
    fill: bool = False,
    where: str | None = None,
) -> None:
    """Raise SourceError or ClassMappingError, before anything is encoded, if there are too few pictures of a class."""
    _few_shot.check_labels_for(_labels(found, where), prompts, shots, allow_fewer=allow_fewer, fill=fill)


def label_pictures(
    found: Source | Gallery,
    prompts: PromptSet,
    encoder: Encoder | None = None,
    *,
    where: str | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    on_progress: OnProgress | None = None,
) -> LabelledPictures:
    """The labelled pictures of a gallery, or of a source, which is encoded.

    ``encoder`` is needed for a source only, and is the default model if none is given.
    """
    if isinstance(found, Gallery):
        refuse_skips(found, strict)
        labelled = labelled_gallery(found, prompts, where=where)
        name = "a gallery in memory" if found.folder is None else str(found.folder.absolute())
        return LabelledPictures(labelled, found.manifest.head, found.manifest.encoding, name)
    refuse_filter(where)
    encoder = encoder or load_encoder()
    encoded = encode_source(
        found, encoder, exif=exif, strict=strict, max_pixels=max_pixels, fast=fast_decode, on_progress=on_progress
    )
    labelled = labelled_source(encoded, found.root, prompts, encoder.space)
    encoding = replace(encoder.encoding, exif=exif, decoding=FAST if fast_decode else EXACT)
    return LabelledPictures(labelled, encoder.head, encoding, found.where or found.root or "images named one by one")


def _check_not_replaced(out: Path, found: Source | Gallery) -> None:
    """Raise OutputExistsError if the gallery of the pictures would be lost to what is made of it."""
    if isinstance(found, Gallery) and found.folder is not None and out.exists() and out.samefile(found.folder):
        raise OutputExistsError(
            f"'{out}' is the gallery of the labelled images itself", hint="Give another output folder."
        )


def _labels(found: Source | Gallery, where: str | None) -> list[str | None]:
    """The label of every image, as far as it is known without reading them which are equal."""
    if isinstance(found, Source):
        refuse_filter(where)
        return [file.label for file in found.files]
    rows = selected(found, where)
    items = found.items if rows is None else [found.items[int(row)] for row in rows]
    # Equal images count once.
    return [label for label, _ in dict.fromkeys((item.label, item.digest or item.path) for item in items)]


def _opened(source: PathLike | Source | Gallery, ground_truth: PathLike | None) -> Source | Gallery:
    if isinstance(source, Source | Gallery):
        return source
    if ground_truth is None and is_index(source):
        return open_gallery(source, device="cpu")
    return open_source([source], ground_truth=ground_truth)
