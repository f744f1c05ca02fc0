"""Labelled vectors and prototypes without pictures and without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from kits.hashing_encoder import HashingEncoder
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.records import Head, IndexKind, Item, Manifest, PromptSet, ScoreHead
from zsretrieve.domain.results import Run
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.store.indexes import Prototypes

SOFTMAX = Head(ScoreHead.SOFTMAX, 10.0)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def prototypes_of(
    vectors: Vectors,
    names: Sequence[str] | None = None,
    keys: Sequence[str | None] | None = None,
    head: Head = SOFTMAX,
) -> Prototypes:
    """Prototypes that are these vectors."""
    encoder = HashingEncoder(vectors.shape[1])
    index = FaissBackend("cpu").create(vectors.shape[1])
    index.add(vectors)
    names = tuple(names or [f"class {number}" for number in range(len(vectors))])
    prompts = PromptSet(names, tuple(keys or [None] * len(names)), tuple((name,) for name in names))
    manifest = Manifest(
        IndexKind.PROTOTYPES, encoder.space, head, encoder.encoding, len(vectors), "Flat", {}, "now", "0", "now",
        templates_source="raw",
    )  # fmt: skip
    return Prototypes(None, manifest, prompts, vectors, index)


def labelled_of(vectors: Vectors, truth: Sequence[int], prototypes: Prototypes, *, digests: bool = True) -> Labelled:
    """Pictures that are these vectors."""
    names = prototypes.prompts.class_names
    items = tuple(
        Item(row, f"{row}.png", names[c], 1, 1, 1, 0, digest(str(row)) if digests else "")
        for row, c in enumerate(truth)
    )
    return Labelled(
        vectors, np.asarray(truth, dtype=np.int64), items, tuple(f"/x/{item.path}" for item in items),
        prototypes.prompts, prototypes.space, (), 0,
    )  # fmt: skip


def random_world(
    n: int, n_classes: int, *, seed: int = 0, dim: int = 8, spread: float = 0.7, head: Head = SOFTMAX,
    names: Sequence[str] | None = None, coarse: bool = False,
) -> tuple[Labelled, Prototypes]:  # fmt: skip
    """Pictures scattered around the prototypes of their classes; ``coarse`` vectors are of two values and often tie."""
    rng = np.random.default_rng(seed)

    def drawn(centre: np.ndarray) -> Vectors:
        found = centre + spread * rng.standard_normal(centre.shape)
        if coarse:
            found = np.where(found > 0, 1.0, -1.0)
        return unit_rows(found)

    vectors = drawn(np.zeros((n_classes, dim)))
    prototypes = prototypes_of(vectors, names, head=head)
    truth = rng.integers(0, n_classes, n)
    return labelled_of(drawn(vectors[truth]), truth.tolist(), prototypes), prototypes


def by_hand(labelled: Labelled, prototypes: Prototypes) -> tuple[np.ndarray, np.ndarray]:
    """All scores, float32 (n, n_classes), and all classes in order, by plain loops in float64."""
    wide = prototypes.vectors.astype(np.float64)
    scores = np.array([[np.float32(np.dot(v.astype(np.float64), p)) for p in wide] for v in labelled.vectors])
    order = [sorted(range(len(wide)), key=lambda c: (-scores[row, c], c)) for row in range(len(scores))]
    return scores, np.array(order)


def run_of_answers(
    said: Sequence[int],
    truth: Sequence[int],
    names: Sequence[str] = ("a", "b", "c"),
    *,
    keys: Sequence[str | None] | None = None,
    images: Sequence[int] | None = None,
    digests: bool = True,
) -> Run:
    """A run in which only the best classes matter; ``images`` are numbers by which those of two runs are the same."""
    images = range(len(said)) if images is None else images
    other = [(best + 1) % len(names) for best in said]
    return Run(
        tuple(f"/x/{number}.png" for number in images),
        tuple(digest(str(number)) if digests else "" for number in images),
        np.array(truth, dtype=np.int64),
        np.stack([said, other], axis=1).astype(np.int64),
        np.tile(np.array([0.5, 0.25], dtype=np.float32), (len(said), 1)),
        np.tile(np.array([0.75, 0.125]), (len(said), 1)),
        tuple(names),
        tuple(keys or [None] * len(names)),
        "a model",
        "raw",
    )
