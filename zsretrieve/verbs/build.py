"""Building prototypes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.pooling import pool_prompts
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.prompts import duplicate_names, prompt_digest
from zsretrieve.records import IndexKind, Manifest, PromptSet
from zsretrieve.store.folder import creating, now
from zsretrieve.store.indexes import Prototypes, write_prototypes
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.encode import OnProgress, encode_texts_once
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
        encoding=encoder.text_encoding,
        count=len(vectors),
        factory=index.factory,
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
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
    with creating(out, force=force) as writer:
        built = make_prototypes(prompts, encoder, backend, on_progress=on_progress)
        made = built.prototypes
        manifest = write_prototypes(writer, made.manifest, prompts, made.vectors, made.index)
    return replace(built, prototypes=Prototypes(out, manifest, prompts, made.vectors, made.index))


def _indistinct(prompts: PromptSet, vectors: Vectors) -> tuple[tuple[str, ...], ...]:
    groups: dict[bytes, dict[str, None]] = {}
    for name, vector in zip(prompts.class_names, np.round(vectors, 4) + 0.0, strict=True):
        groups.setdefault(vector.tobytes(), {})[name] = None
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)
