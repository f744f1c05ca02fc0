"""Evaluating retrieval between images and their captions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from zsretrieve.api.indexes import is_index, open_gallery
from zsretrieve.api.sources import SourceLike, source_or_gallery
from zsretrieve.api.texts import of_gallery, open_texts
from zsretrieve.domain.errors import SkippedInputError, UsageError
from zsretrieve.domain.filters import selection
from zsretrieve.domain.ports import OnStage, one_step, progress_of
from zsretrieve.domain.records import PathLike, Space
from zsretrieve.domain.settings import Precision, Reading
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.encoding.batches import encode_source, encode_texts_once
from zsretrieve.encoding.texts import note_cut
from zsretrieve.evaluation import captions as _captions
from zsretrieve.evaluation.captions import RANKS, CaptionReport
from zsretrieve.images.sources import Source
from zsretrieve.store.indexes import Gallery
from zsretrieve.texts.records import Wanted


def evaluate_captions(
    source: SourceLike | Gallery,
    captions: PathLike | Source | Gallery,
    model: ModelLike | None = None,
    *,
    column: str | None = None,
    image_column: str | None = None,
    split: str | None = None,
    ranks: Sequence[int] | None = None,
    reading: Reading | None = None,
    where: str | None = None,
    on_stage: OnStage | None = None,
) -> CaptionReport:
    """Recall@k and median rank of retrieval from images to their captions and back.

    Only images with captions are candidates, so a split can be evaluated in a gallery of the whole data set.

    Parameters
    ----------
    source : path, sequence of path, Source or Gallery
        The images, see ``open_source``.
    captions : path, Source or Gallery
        Captions that name their images, see ``open_texts``; or a gallery of texts, whose vectors are used.
    model : Model, Encoder or str, optional
        By default the one that the gallery names.
    column, image_column, split : str, optional
        See ``open_texts``.
    ranks : sequence of int
        The k of recall@k, by default 1, 5 and 10.
    reading : Reading, optional
    where : str, optional
        Only the images of a gallery that pass a filter, see ``zsretrieve.domain.filters``.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    RankError
        If a k is below 1.
    UsageError
        If the images are a gallery of texts, or options contradict the source.
    SourceError
        If the captions cannot be read, or none describes an image of the source.
    SkippedInputError
        If ``reading`` is strict, and a caption or an image cannot be used.
    SpaceMismatchError
        If the images and the captions are of two embedding spaces.
    FilterError
        If the filter cannot be used, or no image passes it.
    """
    model, reading, ranks = as_model(model), reading or Reading(), ranks or RANKS
    _captions.check_ranks(ranks)
    with one_step(on_stage, "reading captions"):
        texts, gallery_of_texts = _opened(captions, Wanted(column, image_column, split))
    images = source_or_gallery(source, reading, where=where, device="cpu")
    if isinstance(images, Gallery) and images.manifest.holds_texts:
        raise UsageError(f"'{_name(source)}' is a gallery of texts, not of images", hint="Give it as `captions`.")
    rows = selection(images.items, where) if isinstance(images, Gallery) else None
    paths, addresses = _listed(images, rows)
    paired = _captions.pair(texts, paths, addresses, _name(source))
    skipped = (*texts.skipped, *paired.without)
    if reading.strict and skipped:
        raise SkippedInputError(
            f"the caption '{skipped[0].path}' cannot be used: {skipped[0].reason}",
            hint="Repair it, or run without `strict`.",
        )
    left_out = len(paths) - len(paired.images)
    opened = images if isinstance(images, Gallery) else gallery_of_texts
    if opened is not None:
        model = model.named(opened.space.model)
        model.check(gallery_space(model, opened.manifest))
        if opened.manifest.encoding.precision in ("fp32", "float32"):
            model = model.computed_with(Precision.FP32)
    space = gallery_space(model, images.manifest) if isinstance(images, Gallery) else model.load().space
    if gallery_of_texts is not None:
        check_same_images(space, "the images", gallery_of_texts.space, "the captions")
    if isinstance(images, Gallery):
        vectors = images.index.stored(paired.images if rows is None else rows[paired.images])
    else:
        captioned = replace(images, files=tuple(images.files[place] for place in paired.images.tolist()))
        on_progress = progress_of(on_stage, "encoding images")
        encoded = encode_source(captioned, model, reading, space=space, on_progress=on_progress)
        vectors, paired = encoded.vectors, paired.only(np.array([item.id for item in encoded.items], dtype=np.int64))
        skipped += encoded.skipped
    if gallery_of_texts is not None:
        of_captions = gallery_of_texts.index.stored(paired.captions)
    else:
        written = [file.text.text for file in texts.files if file.text is not None]
        of_captions = _encoded([written[place] for place in paired.captions.tolist()], model, space, on_stage)
    with one_step(on_stage, "comparing"):
        both = _captions.retrieval(vectors, of_captions, paired.owners, ranks)
    # Of a model whose text side alone was trained, the texts say which it is.
    named = space if gallery_of_texts is None else gallery_of_texts.space
    return CaptionReport(*both, len(paired.without), left_out, skipped, named.model, split, where)


def _opened(captions: PathLike | Source | Gallery, wanted: Wanted) -> tuple[Source, Gallery | None]:
    """The captions, and the gallery that they are in, if they are in one."""
    if isinstance(captions, str | os.PathLike):
        if not is_index(captions):
            return open_texts(captions, column=wanted.text, image_column=wanted.image, split=wanted.split), None
        captions = open_gallery(captions, device="cpu")
    if wanted != Wanted():
        raise UsageError("these captions are read already", hint="Leave out `column`, `image_column` and `split`.")
    return (captions, None) if isinstance(captions, Source) else (of_gallery(captions), captions)


def _listed(images: Source | Gallery, rows: Rows | None) -> tuple[list[str], list[str]]:
    """The paths of images as they are written, and in full."""
    if isinstance(images, Source):
        return [file.path for file in images.files], [images.address(file) for file in images.files]
    items = images.items if rows is None else [images.items[row] for row in rows.tolist()]
    return [item.path for item in items], [images.path_of(item) for item in items]


def _encoded(texts: Sequence[str], model: Model, space: Space, on_stage: OnStage | None) -> Vectors:
    """The vectors of captions, which are cached as those of prompts are."""
    encoder, memory = model.load(space), model.prompt_memory(space)
    on_progress = progress_of(on_stage, "encoding captions")
    done = encode_texts_once(encoder, [texts], memory=memory, on_progress=on_progress)
    note_cut(done.cut)
    return done.vectors[done.rows[0]]


def _name(source: SourceLike | Gallery) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "the source"
