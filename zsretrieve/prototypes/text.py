"""Prototypes from prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zsretrieve.domain.pooling import pool_prompts
from zsretrieve.domain.ports import Encoder, IndexBackend, OnProgress, PromptMemory
from zsretrieve.domain.prompts import duplicate_names, prompt_digest
from zsretrieve.domain.records import Encoding, Head, IndexKind, Manifest, PromptSet, Space
from zsretrieve.domain.training import Training
from zsretrieve.domain.vectors import Vectors
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.encoding.batches import encode_texts_once
from zsretrieve.store.folder import Writer, creating, now
from zsretrieve.store.index_files import write_prototypes
from zsretrieve.store.indexes import Prototypes
from zsretrieve.store.key_values import KeyValues
from zsretrieve.store.prototype_files import Digests
from zsretrieve.system.version import tool_version

_SHOWN = 10


@dataclass(frozen=True)
class BuiltPrototypes:
    """Prototypes and what their prompts have in common.

    ``cut_prompts`` are longer than the model's context. ``indistinct`` are groups of different names whose prototypes
    are equal.
    """

    prototypes: Prototypes
    duplicate_names: tuple[str, ...]
    cut_prompts: tuple[str, ...]
    indistinct: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, prototypes: Prototypes, cut_prompts: tuple[str, ...] = ()) -> BuiltPrototypes:
        """Prototypes with what they have in common; which prompts were cut is only known when they are encoded."""
        indistinct = _indistinct(prototypes.prompts, prototypes.vectors)
        return cls(prototypes, prototypes.manifest.duplicate_names, cut_prompts, indistinct)

    def notes(self) -> list[str]:
        """What people should know about their prompts, one line each."""
        lines = []
        if self.duplicate_names:
            names = shorten(self.duplicate_names, len(self.duplicate_names))
            lines.append(f"class names given more than once, whose ties go to the lowest class id: {names}")
        lines += [
            f"the model cannot distinguish these {len(group)} classes, their vectors are equal: "
            f"{shorten(group, _SHOWN)}"
            for group in self.indistinct[:_SHOWN]
        ]
        if self.cut_prompts:
            are = counted(len(self.cut_prompts), "prompt is", "prompts are")
            context = self.prototypes.space.text.context_length
            lines.append(f"{are} longer than the model's {context} tokens and cut:")
            lines += [f"  '{text}'" for text in self.cut_prompts[:_SHOWN]]
            if len(self.cut_prompts) > _SHOWN:
                lines.append(f"  and {len(self.cut_prompts) - _SHOWN} more")
        return lines


def make_prototypes(
    prompts: PromptSet,
    encoder: Encoder,
    backend: IndexBackend,
    *,
    memory: PromptMemory | None = None,
    on_progress: OnProgress | None = None,
) -> BuiltPrototypes:
    """Encode prompts and pool them into one prototype per class, in memory.

    Parameters
    ----------
    prompts : PromptSet
    encoder : Encoder
    backend : IndexBackend
    memory : PromptMemory, optional
        Has the vectors of earlier prompts, and keeps new ones.
    on_progress : callable, optional
        Called with (distinct prompts done, distinct prompts in all).
    """
    texts = encode_texts_once(encoder, prompts.prompts, memory=memory, on_progress=on_progress)
    vectors = pool_prompts(texts.vectors, texts.rows)
    prototypes = in_memory(
        vectors, prompts, backend, encoder.space, encoder.head, encoder.text_encoding, cut_prompts=len(texts.cut)
    )
    return BuiltPrototypes.of(prototypes, texts.cut)


def build_prototypes(
    out: Path,
    prompts: PromptSet,
    encoder: Encoder,
    backend: IndexBackend,
    *,
    scale: float | None = None,
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
        return replace(built, prototypes=write(writer, built.prototypes, scale))


def write(writer: Writer, prototypes: Prototypes, scale: float | None = None) -> Prototypes:
    """Write prototypes that are in memory; with ``scale`` in place of the model's own."""
    if scale is not None:
        prototypes = prototypes.at_scale(scale)
    return replace(prototypes, folder=writer.out, manifest=write_prototypes(writer, prototypes))


def in_memory(
    vectors: Vectors,
    prompts: PromptSet,
    backend: IndexBackend,
    space: Space,
    head: Head,
    encoding: Encoding,
    *,
    cut_prompts: int = 0,
    training: Training | None = None,
    augmented: bool = False,
    drawn: Digests | None = None,
    keys: KeyValues | None = None,
) -> Prototypes:
    """Prototypes that are not written yet.

    Parameters
    ----------
    vectors : float32 of shape (n_classes, dim), unit rows
        Two columns wider than the embedding space where they are ``augmented``.
    """
    index = backend.create(vectors.shape[1])
    index.add(vectors)
    manifest = Manifest(
        kind=IndexKind.PROTOTYPES,
        space=space,
        head=head,
        encoding=encoding,
        count=len(vectors),
        factory=index.factory,
        files={},
        created=now(),
        tool_version=tool_version(),
        verified=now(),
        prompt_digest=prompt_digest(prompts),
        classes_source=prompts.classes_source,
        templates_source=prompts.templates_source,
        duplicate_names=duplicate_names(prompts),
        cut_prompts=cut_prompts,
        training=training,
        lifted=augmented,
        adapter=None if keys is None else keys.described,
    )
    return Prototypes(None, manifest, prompts, vectors, index, drawn, keys)


def _indistinct(prompts: PromptSet, vectors: Vectors) -> tuple[tuple[str, ...], ...]:
    groups: dict[bytes, dict[str, None]] = {}
    for name, vector in zip(prompts.class_names, np.round(vectors, 4) + 0.0, strict=True):
        groups.setdefault(vector.tobytes(), {})[name] = None
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)
