"""Duplicates of a gallery and searches without repeats, against all pairs compared one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from zsretrieve import api
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.backends.numpy_exact import NumpyBackend
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import FilterError, RankError
from zsretrieve.ports import Encoder, IndexBackend
from zsretrieve.records import DuplicateGroup, DuplicateKind, Item
from zsretrieve.store.indexes import Gallery
from zsretrieve.vectors import unit_rows
from zsretrieve.verbs import duplicates as verb


def _gallery(vectors: np.ndarray, digests: list[str], backend: IndexBackend) -> Gallery:
    encoder = HashingEncoder()
    made = api.make_prototypes("cat,dog", encoder, device="cpu").prototypes
    index = backend.create(vectors.shape[1])
    index.add(vectors)
    space = replace(encoder.space, dim=vectors.shape[1])
    items = tuple(
        Item(3 * n, f"{n}.png", f"label {n % 2}", 10 + n, 10, 1, 1, digest) for n, digest in enumerate(digests)
    )
    return Gallery(None, replace(made.manifest, root="pictures", space=space), items, vectors, index)


def _clusters(seed: int, n: int = 160, dim: int = 24) -> tuple[np.ndarray, list[str]]:
    """Some pictures alone, some in clouds of several widths, some with equal files."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n // 4, dim))
    which = rng.integers(0, len(centres), n)
    vectors = unit_rows(centres[which] + rng.uniform(0, 0.5, (n, 1)) * rng.standard_normal((n, dim)))
    digests = [f"{rng.integers(0, 10**9):09}" if rng.random() < 0.8 else "" for _ in range(n)]
    for _ in range(n // 10):
        one, other = rng.integers(0, n, 2)
        vectors[other], digests[other] = vectors[one], digests[one]
    return vectors, digests


def _scores(vectors: np.ndarray) -> np.ndarray:
    return (vectors.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)


def _same(vectors: np.ndarray, digests: list[str], near: float | None) -> np.ndarray:
    names = np.array(digests)
    same = (names[:, None] == names) & (names != "")
    return same if near is None else same | (_scores(vectors) >= np.float32(near))


def _components(same: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    left, groups = set(rows.tolist()), []
    for row in rows.tolist():
        group, waiting = set(), [row] if row in left else []
        while waiting:
            one = waiting.pop()
            if one in left:
                left.remove(one)
                group.add(one)
                waiting += [other for other in left if same[one, other]]
        if len(group) > 1:
            groups.append(sorted(group))
    return groups


def _rows(group: DuplicateGroup) -> list[int]:
    return [item.id // 3 for item in group.items]


@pytest.mark.parametrize("backend", [FaissBackend("cpu"), NumpyBackend()], ids=["faiss", "numpy"])
@pytest.mark.parametrize("near", [None, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("where", [None, "width % 3 > 0", "id < 30"])
@pytest.mark.parametrize("tiles", [(7, 5), (1024, 4096)])
def test_groups_are_the_components_of_all_pairs(
    backend: IndexBackend,
    near: float | None,
    where: str | None,
    tiles: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verb, "_QUERIES", tiles[0])
    monkeypatch.setattr(verb, "_AMONG", tiles[1])
    vectors, digests = _clusters(1)
    gallery = _gallery(vectors, digests, backend)
    width, ids = np.arange(10, 170), np.arange(0, 480, 3)
    rows = np.flatnonzero({None: ids >= 0, "width % 3 > 0": width % 3 > 0, "id < 30": ids < 30}[where])
    expected = _components(_same(vectors, digests, near), rows)
    found = api.find_duplicates(gallery, near=near, where=where)
    assert [_rows(group) for group in found] == expected
    scores = _scores(vectors)
    for group in found:
        members = _rows(group)
        one_file = len({digests[row] for row in members}) == 1 and digests[members[0]] != ""
        assert group.kind is (DuplicateKind.EXACT if one_file else DuplicateKind.NEAR)
        np.testing.assert_allclose([item.score for item in group.items], scores[members[0], members], atol=1e-6)
        assert group.lowest_score == min(item.score for item in group.items)
        assert [item.path for item in group.items] == [f"pictures/{row}.png" for row in members]
        assert [item.digest for item in group.items] == [digests[row] for row in members]
    if where is None and near in (0.95, 0.99):
        assert {group.kind for group in found} == set(DuplicateKind)


def test_a_near_group_is_a_chain_and_its_lowest_score_tells() -> None:
    angles = np.radians([0, 10, 20, 30, 40, 180])
    vectors = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    gallery = _gallery(vectors, [""] * 6, FaissBackend("cpu"))
    (group,) = api.find_duplicates(gallery, near=0.98)
    assert _rows(group) == [0, 1, 2, 3, 4]
    assert group.kind is DuplicateKind.NEAR
    assert group.lowest_score == pytest.approx(np.cos(np.radians(40)))
    assert api.find_duplicates(gallery, near=0.99) == ()


def test_unknown_digests_are_not_equal() -> None:
    vectors = unit_rows(np.eye(4))
    gallery = _gallery(vectors, ["", "", "a", "a"], FaissBackend("cpu"))
    (group,) = api.find_duplicates(gallery)
    assert _rows(group) == [2, 3]
    assert (group.kind, group.lowest_score) == (DuplicateKind.EXACT, 0.0)


def test_progress_ends_and_wrong_requests_are_refused() -> None:
    vectors, digests = _clusters(2)
    gallery = _gallery(vectors, digests, FaissBackend("cpu"))
    steps: list[tuple[int, int]] = []
    api.find_duplicates(gallery, on_progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1]
    for near in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(RankError, match="near is"):
            api.find_duplicates(gallery, near=near)
    with pytest.raises(FilterError, match="none of the 160 images passes"):
        api.find_duplicates(gallery, where="width > 9999")


def test_many_equal_pictures_are_one_group() -> None:
    vectors = unit_rows(np.repeat(np.eye(8)[:2], [1500, 3], axis=0))
    found = api.find_duplicates(_gallery(vectors, [""] * 1503, FaissBackend("cpu")))
    assert [len(group.items) for group in found] == [1500, 3]


class Asking(HashingEncoder):
    """Gives a chosen vector for any text."""

    def __init__(self, vector: np.ndarray, space_of: Gallery) -> None:
        super().__init__()
        self._vector = vector
        self.space = space_of.space

    def encode_texts(self, texts: object) -> np.ndarray:
        return self._vector


def _greedy(
    vectors: np.ndarray, digests: list[str], query: np.ndarray, rows: np.ndarray, k: int, near: float
) -> list[int]:
    same = _same(vectors, digests, near)
    scores = (vectors.astype(np.float64) @ query[0].astype(np.float64)).astype(np.float32)
    kept: list[int] = []
    for row in rows[np.lexsort((rows, -scores[rows]))].tolist():
        if not any(same[row, other] for other in kept):
            kept.append(row)
    return kept[:k]


@pytest.mark.parametrize("near", [0.7, 0.95, 1.0])
@pytest.mark.parametrize("k", [1, 5, 40, 160])
@pytest.mark.parametrize("block", [3, 256])
def test_a_search_without_repeats_is_the_greedy_one(
    near: float, k: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsretrieve.verbs.search._BLOCK", block)
    vectors, digests = _clusters(3)
    gallery = _gallery(vectors, digests, FaissBackend("cpu"))
    for seed in range(5):
        query = unit_rows(vectors[seed : seed + 1] + 0.1)
        encoder: Encoder = Asking(query, gallery)
        hits = api.search(gallery, "anything", encoder, k=k, dedup=True, near=near)
        expected = _greedy(vectors, digests, query, np.arange(160), k, near)
        assert [hit.id // 3 for hit in hits] == expected
        assert [hit.rank for hit in hits] == list(range(1, len(expected) + 1))
        assert all(one.score >= other.score for one, other in pairwise(hits))
        if k <= 60:
            rows = np.arange(1, 160, 2)
            hits = api.search(gallery, "anything", encoder, k=k, dedup=True, near=near, where="label = 'label 1'")
            assert [hit.id // 3 for hit in hits] == _greedy(vectors, digests, query, rows, k, near)


def test_repeats_are_there_without_dedup_and_k_is_filled_behind_many_of_them() -> None:
    vectors = np.repeat(unit_rows(np.eye(8)), [500, 1, 1, 1, 1, 1, 1, 1], axis=0)
    gallery = _gallery(vectors, [""] * 507, FaissBackend("cpu"))
    query = unit_rows(np.array([[8.0, 7, 6, 5, 4, 3, 2, 1]]))
    encoder = Asking(query, gallery)
    assert [hit.id // 3 for hit in api.search(gallery, "x", encoder, k=4)] == [0, 1, 2, 3]
    assert [hit.id // 3 for hit in api.search(gallery, "x", encoder, k=4, dedup=True)] == [0, 500, 501, 502]
    assert len(api.search(gallery, "x", encoder, k=20, dedup=True)) == 8
    with pytest.raises(RankError, match="near is"):
        api.search(gallery, "x", encoder, dedup=True, near=0.0)
