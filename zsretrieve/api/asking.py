"""Classification and evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence

from zsretrieve import ranking
from zsretrieve.api.finding import open_source
from zsretrieve.api.models import load_encoder
from zsretrieve.api.opening import PathLike, is_index, open_gallery, open_prototypes
from zsretrieve.errors import FilterError, SkippedInputError, SourceError
from zsretrieve.ports import Encoder
from zsretrieve.results import EvalReport, Reject, Run
from zsretrieve.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.verbs import classify as _classify
from zsretrieve.verbs import evaluate as _evaluate
from zsretrieve.verbs.classify import Classification
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.labelled import class_ids


def classify(
    source: PathLike | Sequence[PathLike] | Source | Gallery,
    prototypes: Prototypes | PathLike,
    encoder: Encoder | None = None,
    *,
    k: int | None = None,
    reject: Reject | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    where: str | None = None,
    on_progress: OnProgress | None = None,
) -> Classification:
    """The k nearest classes of every picture; a gallery is classified without encoding anything.

    ``where`` keeps to the pictures of a gallery that pass a filter, see ``zsretrieve.filters``; ``reject`` marks those
    whose answer is not sure enough.

    Raises
    ------
    SpaceMismatchError, RankError, SourceError, FilterError
        See ``zsretrieve.verbs.classify``.
    """
    found = _source_or_gallery(source)
    prototypes = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes)
    if isinstance(found, Gallery):
        refuse_skips(found, strict)
        return _classify.classify_gallery(found, prototypes, k=k, reject=reject, where=where)
    refuse_filter(where)
    return _classify.classify_source(
        found, prototypes, encoder or load_encoder(prototypes.space.model),
        k=k, reject=reject, exif=exif, strict=strict, max_pixels=max_pixels, fast=fast_decode, on_progress=on_progress,
    )  # fmt: skip


def evaluate(
    source: PathLike | Source | Gallery,
    prototypes: Prototypes | PathLike,
    encoder: Encoder | None = None,
    *,
    ground_truth: PathLike | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    where: str | None = None,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
    include_shots: bool = False,
    on_progress: OnProgress | None = None,
) -> EvalReport:
    """Prec@k, mean per-class recall, calibration and the rest of a labelled source or gallery.

    See ``evaluate_with_run``, which returns what was said of every picture as well.
    """
    return evaluate_with_run(
        source, prototypes, encoder, ground_truth=ground_truth, exif=exif, strict=strict, max_pixels=max_pixels,
        fast_decode=fast_decode, where=where, include_shots=include_shots, ranks=ranks, retrieval_at=retrieval_at,
        reject=reject, on_progress=on_progress,
    )[1]  # fmt: skip


def evaluate_with_run(
    source: PathLike | Source | Gallery,
    prototypes: Prototypes | PathLike,
    encoder: Encoder | None = None,
    *,
    ground_truth: PathLike | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    where: str | None = None,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
    include_shots: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[Run, EvalReport]:
    """What a model says to every labelled picture of a source or gallery, and all figures of it.

    Parameters
    ----------
    where : str, optional
        Keep to the pictures of a gallery that pass a filter, see ``zsretrieve.filters``.
    ranks : sequence of int, optional
        The k of Prec@k, beside 1 (default: 5 where there are so many classes).
    retrieval_at : sequence of int
        Each class as a query over the pictures, too, with these k; an empty one leaves it out.
    reject : Reject, optional
        What is to be answered with "unknown".
    include_shots : bool
        Also score the pictures that the prototypes were made from, which are left out otherwise.

    Raises
    ------
    RankError
        If a k does not fit the number of classes, or no threshold reaches the precision that is wanted.
    SpaceMismatchError, ClassMappingError, SourceError, FilterError
        See ``zsretrieve.verbs.evaluate``.
    """
    found = _source_or_gallery(source, ground_truth)
    prototypes = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes)
    _evaluate.check_asked(len(prototypes.index), ranks, retrieval_at, reject)
    if isinstance(found, Gallery):
        refuse_skips(found, strict)
        labelled = _evaluate.take_labelled(found, prototypes, where=where, include_shots=include_shots)
    else:
        refuse_filter(where)
        labelled = _evaluate.encode_labelled(
            found, prototypes, encoder or load_encoder(prototypes.space.model),
            exif=exif, strict=strict, max_pixels=max_pixels, fast=fast_decode, include_shots=include_shots,
            on_progress=on_progress,
        )  # fmt: skip
    return _evaluate.run_and_report(labelled, prototypes, ranks=ranks, retrieval_at=retrieval_at, reject=reject)


def check_k(k: int | None, n_classes: int) -> None:
    """Raise RankError, before anything is loaded, if ``classify`` would."""
    if k is not None:
        ranking.check_k(k, n_classes, "classes")


def check_asked(
    prototypes: Prototypes,
    *,
    ranks: Sequence[int] | None = None,
    retrieval_at: Sequence[int] = (),
    reject: Reject | None = None,
) -> None:
    """Raise RankError, before anything is loaded, if ``evaluate`` would."""
    _evaluate.check_asked(len(prototypes.index), ranks, retrieval_at, reject)


def check_labels(source: Source, prototypes: Prototypes) -> None:
    """Raise ClassMappingError or SourceError, before anything is encoded, if ``evaluate`` would."""
    class_ids([file.label for file in source.files], prototypes.prompts)


def refuse_filter(where: str | None) -> None:
    """Raise FilterError if there is a filter, where pictures are no gallery's."""
    if where is not None:
        raise FilterError(
            "a filter goes with a gallery, not with a folder or files", hint="Build one: zsretrieve index gallery."
        )


def refuse_skips(gallery: Gallery, strict: bool) -> None:
    """Raise SkippedInputError if nothing may be skipped, and something was when a gallery was built."""
    if strict and gallery.manifest.skipped:
        first = gallery.manifest.skipped[0]
        raise SkippedInputError(
            f"{len(gallery.manifest.skipped)} images were skipped when the gallery was built, first '{first.path}': "
            f"{first.reason}",
            hint="Repair them and build it again, or run without --strict.",
        )


def _source_or_gallery(
    source: PathLike | Sequence[PathLike] | Source | Gallery, ground_truth: PathLike | None = None
) -> Source | Gallery:
    if isinstance(source, Source | Gallery):
        names: list[PathLike] = []
    else:
        names = [source] if isinstance(source, str | os.PathLike) else list(source)
    gallery = source if isinstance(source, Gallery) else None
    if len(names) == 1 and is_index(names[0]):
        gallery = open_gallery(names[0])
    if gallery is not None and ground_truth is not None:
        raise SourceError(
            "a gallery takes its labels when it is built", hint="Build it again with --ground-truth FILE --force."
        )
    if gallery is not None:
        return gallery
    if isinstance(source, Source):
        if ground_truth is not None:
            raise SourceError("a ground truth goes with a folder", hint="Give it to open_source.")
        return source
    return open_source(names, ground_truth=ground_truth)
