"""The verbs for Python: adapters from ``wiring``, use cases from below, defaults in one place.

The command line calls these same functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from zsretrieve import prompts as _prompts
from zsretrieve import ranking, sources, wiring
from zsretrieve.errors import SkippedInputError, SourceError, SpaceMismatchError
from zsretrieve.images import is_image_name
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.records import EvalReport, Hit, PromptSet, Space
from zsretrieve.sources import Source
from zsretrieve.store import folder as folders
from zsretrieve.store import indexes
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.verbs import build as _build
from zsretrieve.verbs import classify as _classify
from zsretrieve.verbs import evaluate as _evaluate
from zsretrieve.verbs import search as _search
from zsretrieve.verbs.build import BuiltPrototypes
from zsretrieve.verbs.classify import Classification
from zsretrieve.verbs.encode import OnProgress

PathLike = str | os.PathLike[str]


def load_encoder(
    model: str = wiring.DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> Encoder:
    """Load a model.

    Parameters
    ----------
    model : str
        ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``local-dir:PATH``, ``ARCH/CHECKPOINT`` or ``demo``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32`` or ``bf16``.
    batch_size : int, optional
        Pictures a batch.

    Raises
    ------
    ModelNameError
        If there is no such model.
    WeightsUnavailableError
        If its weights cannot be had.
    DeviceError
        If the device or precision is not there.
    """
    return wiring.load_encoder(model, device=device, precision=precision, batch_size=batch_size)


def read_prompts(classes: PathLike | Sequence[str], templates: PathLike | Sequence[str] | None = None) -> PromptSet:
    """Class names put into templates.

    Parameters
    ----------
    classes : str, path or sequence of str
        A bundled set's name, a file, a comma list, or the names.
    templates : str, path or sequence of str, optional
        A bundled set's name, a file, one template, or the templates; by default what the class set asks for, else
        ``standard``.

    Raises
    ------
    PromptError
        If either cannot be read.
    """
    class_list = _prompts.read_classes(_spec(classes), wiring.provide)
    if templates is None and class_list.prompts:
        return _prompts.expand(class_list, None)
    chosen = _spec(templates) if templates is not None else class_list.default_templates or _prompts.DEFAULT_TEMPLATES
    return _prompts.expand(class_list, _prompts.read_templates(chosen, wiring.provide))


def build_prototypes(
    out: PathLike,
    classes: PathLike | Sequence[str] | PromptSet,
    encoder: Encoder,
    *,
    templates: PathLike | Sequence[str] | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> BuiltPrototypes:
    """Build a prototype index in the folder ``out``. See ``read_prompts`` and ``zsretrieve.verbs.build``."""
    prompts = classes if isinstance(classes, PromptSet) else read_prompts(classes, templates)
    return _build.build_prototypes(Path(out), prompts, encoder, _cpu(), force=force, on_progress=on_progress)


def make_prototypes(
    classes: PathLike | Sequence[str] | PromptSet,
    encoder: Encoder,
    *,
    templates: PathLike | Sequence[str] | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> BuiltPrototypes:
    """Prototypes in memory, for a list of labels that needs no index of its own."""
    prompts = classes if isinstance(classes, PromptSet) else read_prompts(classes, templates)
    return _build.make_prototypes(prompts, encoder, wiring.index_backend(device), on_progress=on_progress)


def build_gallery(
    source: PathLike | Source,
    out: PathLike,
    encoder: Encoder,
    *,
    ground_truth: PathLike | None = None,
    exif: bool = True,
    strict: bool = False,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Gallery:
    """Encode a source into a gallery index in the folder ``out``. See ``zsretrieve.verbs.build``."""
    found = source if isinstance(source, Source) else open_source([source], ground_truth=ground_truth)
    return _build.build_gallery(
        Path(out), found, encoder, _cpu(), exif=exif, strict=strict, force=force, on_progress=on_progress
    )


def open_prototypes(folder: PathLike, *, device: str = "auto", half: bool = False) -> Prototypes:
    """Open a prototype index; ``half`` keeps a GPU's copy in float16, and results stay exact.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_prototypes(os.fspath(folder), wiring.index_backend(device, half=half))


def open_gallery(folder: PathLike, *, device: str = "auto", half: bool = False) -> Gallery:
    """Open a gallery index; ``half`` keeps a GPU's copy in float16, and results stay exact.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_gallery(os.fspath(folder), wiring.index_backend(device, half=half))


def is_index(folder: PathLike) -> bool:
    """Whether a folder is an index rather than a folder of images."""
    return indexes.is_index(os.fspath(folder))


def check_output(out: PathLike, *, force: bool = False) -> None:
    """Raise OutputExistsError unless an index may be written to ``out``; tells early what would fail late."""
    folders.check_output(Path(out), force=force)


def verify(folder: PathLike) -> list[str]:
    """Check every digest, count, norm and id of an index; the list of problems is empty when it is sound."""
    return indexes.verify(os.fspath(folder), _cpu())


def open_source(
    where: Sequence[PathLike], *, ground_truth: PathLike | None = None, standard_input: Iterable[str] | None = None
) -> Source:
    """Find pictures: one folder, one list of paths, or several files.

    Parameters
    ----------
    where : sequence of path
        A folder; ``@FILE`` or ``-`` for a list of paths in a file or on standard input; picture files; or a gallery,
        whose pictures are then read again.
    ground_truth : path, optional
        Labels for a folder, see ``zsretrieve.sources.read_ground_truth``.
    standard_input : iterable of str, optional
        The lines for ``-``.

    Raises
    ------
    SourceError
        If nothing can be found there.
    """
    names = [os.fspath(name) for name in where]
    if ground_truth is not None and not (len(names) == 1 and os.path.isdir(names[0])):
        raise SourceError("a ground truth goes with one folder of images", hint="Give the folder.")
    if len(names) == 1 and is_index(names[0]):
        if ground_truth is not None:
            raise SourceError(
                "the pictures of a gallery keep the labels they were given", hint="Give the folder of images instead."
            )
        gallery = open_gallery(names[0], device="cpu")
        return sources.of_gallery(gallery.items, gallery.manifest.skipped, gallery.manifest.root)
    if len(names) == 1 and names[0] == "-":
        return sources.read_list(standard_input or ())
    if len(names) == 1 and names[0].startswith("@"):
        try:
            with open(names[0][1:], encoding="utf-8-sig", errors="surrogateescape") as lines:
                return sources.read_list(lines)
        except OSError as error:
            raise SourceError(
                f"the list '{names[0][1:]}' cannot be read: {error.strerror}", hint="Check the path."
            ) from error
    if len(names) == 1 and not os.path.isfile(names[0]):
        return sources.folder(names[0], Path(ground_truth) if ground_truth is not None else None)
    for name in names:
        if os.path.isdir(name):
            raise SourceError(f"'{name}' is one folder of several sources", hint="Give one folder, or files only.")
        if len(names) == 1 and not is_image_name(name):
            raise SourceError(f"'{name}' is not named like an image", hint="A list of paths is given as @FILE.")
        if not os.path.exists(name):
            raise SourceError(f"there is no file '{name}'", hint="Check the path.")
    return sources.paths(names)


def classify(
    source: PathLike | Sequence[PathLike] | Source | Gallery,
    prototypes: Prototypes | PathLike,
    encoder: Encoder | None = None,
    *,
    k: int | None = None,
    exif: bool = True,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Classification:
    """The k nearest classes of every picture; a gallery is classified without encoding anything.

    Raises
    ------
    SpaceMismatchError, RankError, SourceError
        See ``zsretrieve.verbs.classify``.
    """
    found = _source_or_gallery(source)
    prototypes = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes)
    if isinstance(found, Gallery):
        _refuse_skips(found, strict)
        return _classify.classify_gallery(found, prototypes, k=k)
    return _classify.classify_source(
        found, prototypes, encoder or load_encoder(prototypes.space.model),
        k=k, exif=exif, strict=strict, on_progress=on_progress,
    )  # fmt: skip


def search(
    gallery: Gallery | PathLike,
    query: str,
    encoder: Encoder | Callable[[], Encoder] | None = None,
    *,
    k: int | None = None,
    literal: bool = False,
    exif: bool | None = None,
) -> tuple[Hit, ...]:
    """The k pictures nearest to a query: words, the path of a picture, or ``a + b - 2:c``.

    Parameters
    ----------
    gallery : Gallery or path
    query : str
    encoder : Encoder, or a function that gives one, optional
        By default the model that the gallery's passport names is loaded if the query needs it.
    k : int, optional
        Ten by default, or as many as the gallery holds.
    literal : bool
        Take the query as one text whatever signs it holds.
    exif : bool, optional
        Turn query pictures upright as their EXIF orientation says; by default as the gallery's were.
    """
    return search_all(gallery, [query], encoder, k=k, literal=literal, exif=exif)[0]


def search_all(
    gallery: Gallery | PathLike,
    queries: Sequence[str],
    encoder: Encoder | Callable[[], Encoder] | None = None,
    *,
    k: int | None = None,
    literal: bool = False,
    exif: bool | None = None,
) -> list[tuple[Hit, ...]]:
    """``search`` for several queries; all of them are read before any is answered."""
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery)

    def given() -> Encoder:
        if encoder is None:
            return load_encoder(opened.space.model)
        return encoder() if callable(encoder) else encoder

    read = [_search.read_query(query, literal=literal) for query in queries]
    return _search.search(opened, read, given, k=k, exif=exif)


def evaluate(
    source: PathLike | Source | Gallery,
    prototypes: Prototypes | PathLike,
    encoder: Encoder | None = None,
    *,
    ground_truth: PathLike | None = None,
    exif: bool = True,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> EvalReport:
    """Prec@1, Prec@5 and mean per-class recall of a labelled source or gallery. See ``zsretrieve.verbs.evaluate``."""
    found = _source_or_gallery(source, ground_truth)
    prototypes = prototypes if isinstance(prototypes, Prototypes) else open_prototypes(prototypes)
    if isinstance(found, Gallery):
        _refuse_skips(found, strict)
        return _evaluate.evaluate_gallery(found, prototypes)
    return _evaluate.evaluate_source(
        found, prototypes, encoder or load_encoder(prototypes.space.model),
        exif=exif, strict=strict, on_progress=on_progress,
    )  # fmt: skip


def check_k(k: int | None, n_classes: int) -> None:
    """Raise RankError, before anything is loaded, if ``classify`` would."""
    if k is not None:
        ranking.check_k(k, n_classes, "classes")


def check_model(model: str, space: Space) -> None:
    """Raise SpaceMismatchError, before anything is loaded or fetched, if the model's name alone rules it out."""
    identity = wiring.identity_by_name(model)
    if identity is not None and identity != space.weights:
        raise SpaceMismatchError(
            f"the index is of the space of '{space.model}', not of '{model}'",
            hint=f"Leave out --model, or build the index again with --model {model}",
        )


def check_labels(source: Source, prototypes: Prototypes) -> None:
    """Raise ClassMappingError or SourceError, before anything is encoded, if ``evaluate`` would."""
    _evaluate.class_ids([file.label for file in source.files], prototypes)


def _refuse_skips(gallery: Gallery, strict: bool) -> None:
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


def _cpu() -> IndexBackend:
    return wiring.index_backend("cpu")


def _spec(value: PathLike | Sequence[str]) -> str | Path | Sequence[str]:
    return Path(value) if isinstance(value, os.PathLike) else value
