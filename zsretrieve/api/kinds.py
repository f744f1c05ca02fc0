"""The index kinds of galleries, and the recall of approximate ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsretrieve.api.indexes import cpu_backend, is_index, open_gallery, open_prototypes
from zsretrieve.domain.arguments import check_texts
from zsretrieve.domain.errors import ShapeError, SourceError, UsageError
from zsretrieve.domain.kind_choice import demands_of
from zsretrieve.domain.kinds import AUTO, FLAT, spelt
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import Manifest, PathLike
from zsretrieve.domain.settings import Precision
from zsretrieve.domain.text_files import lines_of, read_text, tidy
from zsretrieve.domain.tuning import QUERIES, RECALL, Goal, Tuned
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.domain.wanted import DEFAULT_K
from zsretrieve.domain.wording import one_line
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.encoding.batches import encode_texts_once
from zsretrieve.gallery import kinds as _kinds
from zsretrieve.gallery import tuning as _tuning
from zsretrieve.gallery.captions import captions
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.named import folder_of
from zsretrieve.system import extras

_VECTORS = ".npy"
_BUNDLED = "bundled captions"
_SEED = 0


def set_index_kind(
    gallery: PathLike,
    kind: str,
    *,
    memory: int | str | None = None,
    recall: float | None = None,
    on_stage: OnStage | None = None,
) -> Manifest:
    """Give a gallery another index kind; returns its manifest.

    Parameters
    ----------
    gallery : path
    kind : str
        ``Flat``, which compares every image; a FAISS factory string such as ``HNSW32`` or ``IVF1024,PQ128x4fsr``, whose
        candidates are compared exactly; or ``auto``, which chooses by the number of images, the memory, the recall and
        whether exact searches run on a GPU. With the kind that the gallery has, its index is made again.
    memory : int or str, optional
        Bytes, or a text such as ``8GB``: the index is made within that, perhaps in several parts, and is not larger.
        Later parts keep to it.
    recall : float, optional
        With ``auto``: the share of the ten best images that searches should find, for texts and for images, 0.95 by
        default.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OptionalDependencyError
        If the kind is not ``Flat``, including one that ``auto`` chooses, and FAISS is not installed.
    UsageError
        If the kind is not supported, does not fit the dimensions or the memory, or the gallery is too small for it, or
        has regions.
    IndexFormatError, IntegrityError, IndexFolderError
        If the gallery is not sound, or cannot be written.
    """
    kind = spelt(kind)
    demands = demands_of(kind, memory, recall)
    if kind != FLAT and manifests.read(folder_of(gallery)).regions is not None:
        raise UsageError(
            f"'{gallery}' has regions, which an approximate index does not hold",
            hint="Keep the kind Flat, or build a gallery without regions.",
        )
    if kind not in (FLAT, AUTO):
        extras.require_faiss(f"the index kind '{kind}'")
    return _kinds.set_kind(folder_of(gallery), kind, cpu_backend(), demands, on_stage)


def tune_index(
    gallery: PathLike,
    recall: float = RECALL,
    *,
    k: int = DEFAULT_K,
    texts: PathLike | Sequence[str] | Vectors | None = None,
    n_queries: int = QUERIES,
    model: ModelLike | None = None,
    on_stage: OnStage | None = None,
) -> Tuned:
    """Find the cheapest settings by which an approximate index finds a share of the best, and keep them.

    Recall is measured with texts, and with images of the gallery, each of which is left out of what is found for it.
    One half of the queries chooses the settings, and the other half states what they find. Searches use the
    settings from then on.

    Parameters
    ----------
    gallery : path
    recall : float
        The share of the best ``k`` that texts and images should find, between 0 and 1.
    k : int
    texts : path, sequence of str or array, optional
        Texts as people will search for: a file with one per line, a prototype index, whose prompts are taken, or a
        list; or vectors of texts by the gallery's model, float of shape (n, dim), also as a file ``*.npy``. At least
        200. By default 3,000 captions and labels that come with zsretrieve.
    n_queries : int
        At most so many of each kind, at least 200, and 6 / (1 - recall) for a recall above 0.97.
    model : Model, Encoder or str, optional
        What encodes texts; by default the model that the gallery names.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OptionalDependencyError
        If FAISS is not installed, or what the model needs.
    UsageError
        If the gallery is searched exactly, is too small, the texts are too few, a number is out of range, or no setting
        reaches the recall; then nothing is kept.
    SourceError, ShapeError
        If the texts cannot be read, or are vectors of another dimension.
    SpaceMismatchError
        If the model has another embedding space than the gallery.
    IndexBusyError
        If the index was replaced meanwhile.
    IndexFormatError, IntegrityError, IndexFolderError
        If the gallery is not sound, or cannot be written.
    """
    goal = Goal(recall, k, n_queries)
    folder = folder_of(gallery)
    extras.require_faiss("tuning an index")
    opened = open_gallery(folder, device="cpu")
    if opened.manifest.holds_texts:
        raise UsageError(
            f"'{gallery}' holds texts, and tuning measures searches for images",
            hint="Leave it as it is, or compare every text with `exact`.",
        )
    _tuning.check(opened, goal)
    given, source = _texts(texts)
    if texts is None and len(given) < goal.least_queries:
        raise UsageError(
            f"{len(given):,} bundled texts are too few to measure a recall of {goal.recall:g}",
            hint=f"Give {goal.least_queries:,} or more as `texts`.",
        )
    if len(given) > n_queries:
        some = np.random.default_rng(_SEED).permutation(len(given))[:n_queries]
        given = given[some] if isinstance(given, np.ndarray) else [given[number] for number in some]
    vectors = given if isinstance(given, np.ndarray) else _encoded(given, opened, as_model(model), on_stage)
    if vectors.shape[1:] != (opened.index.dim,):
        raise ShapeError(
            f"the texts are vectors of shape {vectors.shape}, and the gallery's have {opened.index.dim} dimensions",
            hint="Use vectors of the gallery's model.",
        )
    tuned = _tuning.tune(opened, unit_rows(vectors), source, goal, on_stage)
    assert opened.approximate is not None
    _tuning.keep(folder, opened.approximate.made, tuned)
    return tuned


def _texts(given: PathLike | Sequence[str] | Vectors | None) -> tuple[Sequence[str] | Vectors, str]:
    """Distinct texts, or their vectors, and what they are."""
    if given is None:
        return captions(), _BUNDLED
    if isinstance(given, np.ndarray):
        return _distinct(given, "the array"), "vectors"
    if not isinstance(given, str | os.PathLike):
        check_texts(given)
        return tuple(dict.fromkeys(given)), "texts"
    if is_index(given):
        prompts = open_prototypes(given, device="cpu").prompts.prompts
        return tuple(dict.fromkeys(prompt for of_class in prompts for prompt in of_class)), _name(given)
    path = Path(given)
    if path.suffix.lower() != _VECTORS:
        lines = map(tidy, lines_of(read_text(path, SourceError)))
        return tuple(dict.fromkeys(filter(None, lines))), _name(path)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(
            f"'{path}' cannot be read as vectors: {one_line(error)}", hint="Give an array that numpy.save wrote."
        ) from error
    return _distinct(vectors, f"'{path}'"), _name(path)


def _distinct(vectors: object, name: str) -> Vectors:
    """The distinct rows of what should be vectors, in their order. Raises SourceError."""
    if not isinstance(vectors, np.ndarray) or not np.issubdtype(vectors.dtype, np.floating) or vectors.ndim != 2:
        raise SourceError(f"{name} does not hold rows of floats", hint="Give vectors of texts, one row each.")
    return vectors[np.sort(np.unique(vectors, axis=0, return_index=True)[1])]


def _name(path: PathLike) -> str:
    return os.path.basename(os.path.normpath(os.fspath(path)))


def _encoded(texts: Sequence[str], gallery: Gallery, model: Model, on_stage: OnStage | None) -> Vectors:
    model = model.named(gallery.space.model)
    space = gallery_space(model, gallery.manifest)
    model.check(space)
    if gallery.manifest.encoding.precision in ("fp32", "float32"):
        model = model.computed_with(Precision.FP32)
    encoder, memory = model.load(space), model.prompt_memory(space)
    on_progress = progress_of(on_stage, "encoding texts")
    return encode_texts_once(encoder, [texts], memory=memory, on_progress=on_progress).vectors
