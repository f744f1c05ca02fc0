"""Places of what belongs to a query, against a plain sort of exact scores and against CLIP_benchmark's own code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zsretrieve.domain.errors import ShapeError
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.captions import RANKS, retrieval
from zsretrieve.metrics import pairs
from zsretrieve.metrics.pairs import best_own, own_places, own_scores


def drawn(n_images: int, n_captions: int, dim: int, seed: int = 0) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Captions near the image that they describe; every image has one at least."""
    rng = np.random.default_rng(seed)
    owners = np.concatenate([np.arange(n_images), rng.integers(0, n_images, n_captions - n_images)])
    rng.shuffle(owners)
    images = unit_rows(rng.standard_normal((n_images, dim)))
    return images, unit_rows(images[owners] + 1.5 * rng.standard_normal((n_captions, dim))), owners


def plainly(queries: Vectors, candidates: Vectors) -> NDArray[np.int64]:
    """All candidates of each query in order, by a sort of scores in float64 that are rounded to float32."""
    products = np.einsum("nd,md->nmd", queries.astype(np.float64), candidates.astype(np.float64))
    return np.argsort(-products.sum(axis=-1).astype(np.float32), axis=1, kind="stable")


def test_places_are_those_of_a_sort() -> None:
    images, captions, owners = drawn(60, 211, 24)
    order = plainly(captions, images)
    places = own_places(captions, images, owners)
    assert places.tolist() == [order[row].tolist().index(owner) for row, owner in enumerate(owners)]
    assert len(set(places.tolist())) > 10


def test_equal_candidates_are_in_the_order_of_their_rows() -> None:
    images, _, _ = drawn(20, 40, 8)
    images[[3, 7, 11]] = images[5]
    places = own_places(images[[5, 5, 5, 5]], images, np.array([3, 5, 7, 11]))
    assert places.tolist() == [0, 1, 2, 3]
    assert own_places(np.ones((2, 1), np.float32), np.ones((5, 1), np.float32), np.array([4, 0])).tolist() == [4, 0]


def test_scores_nearer_than_the_error_of_float32_are_compared_exactly() -> None:
    rng = np.random.default_rng(3)
    query = unit_rows(rng.standard_normal((1, 256)))
    near = unit_rows(query + 1e-5 * rng.standard_normal((400, 256)))
    exact = np.asarray(near.astype(np.float64) @ query[0].astype(np.float64), dtype=np.float32)
    order = np.lexsort((np.arange(400), -exact))
    queries = np.repeat(query, 400, axis=0)
    assert own_places(queries, near, np.arange(400)).tolist() == np.argsort(order).tolist()


def test_the_best_of_its_own_counts_for_an_image() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.2], dtype=np.float32)
    assert best_own(scores, np.array([1, 0, 0, 1]), 2).tolist() == [1, 3]
    with pytest.raises(ShapeError, match="no member"):
        best_own(scores, np.array([0, 0, 0, 0]), 2)
    with pytest.raises(ShapeError, match="do not fit"):
        own_scores(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32), np.array([0, 1]))


def test_retrieval_in_both_directions_against_a_plain_count() -> None:
    images, captions, owners = drawn(50, 230, 16, seed=1)
    image_to_text, text_to_image = retrieval(images, captions, owners, RANKS)
    of_captions, of_images = plainly(captions, images), plainly(images, captions)
    for k in RANKS:
        found = [owner in row[:k] for row, owner in zip(of_captions, owners, strict=True)]
        assert text_to_image.recall_at[k] == np.mean(found)
        any_of_them = [(owners[row[:k]] == image).any() for image, row in enumerate(of_images)]
        assert image_to_text.recall_at[k] == np.mean(any_of_them)
    first = [int(np.flatnonzero(owners[row] == image)[0]) + 1 for image, row in enumerate(of_images)]
    assert image_to_text.median_rank == np.median(first)
    assert (image_to_text.n, text_to_image.n) == (50, 230)


@pytest.mark.peer
@pytest.mark.parametrize("seed", range(3))
def test_recalls_are_those_of_clip_benchmark(tmp_path: Path, seed: int) -> None:
    import torch
    from kits import peer

    wheel = peer.unpacked(tmp_path, peer.CLIP_BENCHMARK)
    theirs = peer.module_of(wheel / "clip_benchmark" / "metrics" / "zeroshot_retrieval.py", {})
    images, captions, owners = drawn(90, 300, 32, seed)
    of_image = [[str(row) for row in np.flatnonzero(owners == image)] for image in range(len(images))]
    parts = [slice(start, start + 32) for start in range(0, len(images), 32)]
    batches = [(torch.from_numpy(images[part]), of_image[part]) for part in parts]
    model: Any = SimpleNamespace(
        encode_image=lambda batch: batch, encode_text=lambda rows: torch.from_numpy(captions)[rows]
    )
    found = theirs.evaluate(
        model, batches, lambda texts: torch.tensor(list(map(int, texts))), "cpu", amp=False, recall_k_list=list(RANKS)
    )
    image_to_text, text_to_image = retrieval(images, captions, owners, RANKS)
    for k in RANKS:
        assert found[f"image_retrieval_recall@{k}"] == pytest.approx(text_to_image.recall_at[k], abs=1e-6)
        assert found[f"text_retrieval_recall@{k}"] == pytest.approx(image_to_text.recall_at[k], abs=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, captions, owners = drawn(300, 1500, 32)
    whole = own_places(captions, images, owners), retrieval(images, captions, owners, RANKS)
    monkeypatch.setattr(pairs, "_AT_ONCE", 1 << 10)
    assert np.array_equal(own_places(captions, images, owners), whole[0])
    assert retrieval(images, captions, owners, RANKS) == whole[1]
