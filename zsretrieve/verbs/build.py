"""Building the two kinds of index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from zsretrieve.pooling import pool_prompts
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.prompts import duplicate_names, prompt_digest
from zsretrieve.records import Encoding, IndexKind, Manifest, PromptSet
from zsretrieve.sources import Source
from zsretrieve.store.folder import draft
from zsretrieve.store.indexes import Gallery, Prototypes, write_gallery, write_prototypes
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.encode import OnProgress, encode_source, encode_texts_once
from zsretrieve.version import tool_version


@dataclass(frozen=True)
class BuiltPrototypes:
    """Prototypes and what is worth knowing of their prompts.

    ``indistinct`` are groups of different names that the model gives one and the same vector.
    """

    prototypes: Prototypes
    duplicate_names: tuple[str, ...]
    cut_prompts: tuple[str, ...]
    indistinct: tuple[tuple[str, ...], ...]


def make_prototypes(
    prompts: PromptSet, encoder: Encoder, backend: IndexBackend, *, on_progress: OnProgress | None = None
) -> BuiltPrototypes:
    """Encode prompts and pool them into one prototype per class, in memory.

    Parameters
    ----------
    prompts : PromptSet
    encoder : Encoder
    backend : IndexBackend
    on_progress : callable, optional
        Called with (distinct prompts done, distinct prompts in all).
    """
    texts = encode_texts_once(encoder, prompts.prompts, on_progress=on_progress)
    vectors = pool_prompts(texts.vectors, texts.rows)
    index = backend.create(encoder.space.dim)
    index.add(vectors)
    duplicates = duplicate_names(prompts)
    manifest = Manifest(
        kind=IndexKind.PROTOTYPES,
        space=encoder.space,
        head=encoder.head,
        encoding=encoder.encoding,
        count=len(vectors),
        factory=index.factory,
        files={},
        created=_now(),
        tool_version=tool_version(),
        prompt_digest=prompt_digest(prompts),
        classes_source=prompts.classes_source,
        templates_source=prompts.templates_source,
        duplicate_names=duplicates,
        cut_prompts=len(texts.cut),
    )
    made = Prototypes(None, manifest, prompts, vectors, index)
    return BuiltPrototypes(made, duplicates, texts.cut, _indistinct(prompts, vectors))


def build_prototypes(
    out: Path,
    prompts: PromptSet,
    encoder: Encoder,
    backend: IndexBackend,
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> BuiltPrototypes:
    """Make prototypes and write them to the folder ``out``.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given.
    """
    with draft(out, force=force) as new:
        built = make_prototypes(prompts, encoder, backend, on_progress=on_progress)
        made = built.prototypes
        manifest = write_prototypes(new, made.manifest, prompts, made.vectors, made.index)
    return replace(built, prototypes=Prototypes(out, manifest, prompts, made.vectors, made.index))


def build_gallery(
    out: Path,
    source: Source,
    encoder: Encoder,
    backend: IndexBackend,
    *,
    exif: bool = True,
    strict: bool = False,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Gallery:
    """Encode the pictures of a source and write them to the folder ``out``.

    Raises
    ------
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given.
    SkippedInputError
        With ``strict``, if a picture cannot be read.
    SourceError
        If no picture at all can be read.
    """
    with draft(out, force=force) as new:
        encoded = encode_source(source, encoder, exif=exif, strict=strict, on_progress=on_progress)
        index = backend.create(encoder.space.dim)
        index.add(encoded.vectors)
        made_by = encoder.encoding
        manifest = Manifest(
            kind=IndexKind.GALLERY,
            space=encoder.space,
            head=encoder.head,
            encoding=Encoding(made_by.engine, made_by.precision, made_by.device, exif),
            count=len(encoded.items),
            factory=index.factory,
            files={},
            created=_now(),
            tool_version=tool_version(),
            root=source.root,
            skipped=encoded.skipped,
        )
        manifest = write_gallery(new, manifest, encoded.items, encoded.vectors, index)
    return Gallery(out, manifest, encoded.items, encoded.vectors, index)


def _indistinct(prompts: PromptSet, vectors: Vectors) -> tuple[tuple[str, ...], ...]:
    groups: dict[bytes, dict[str, None]] = {}
    for name, vector in zip(prompts.class_names, np.round(vectors, 4) + 0.0, strict=True):
        groups.setdefault(vector.tobytes(), {})[name] = None
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
