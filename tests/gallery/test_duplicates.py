"""Duplicates of a gallery and searches without repeats, against all pairs compared one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from kits.exact_index import NumpyBackend
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.duplicates import DuplicateGroup, DuplicateKind
from zsretrieve.domain.errors import FilterError, RankError
from zsretrieve.domain.ports import Encoder, IndexBackend
from zsretrieve.domain.records import Item
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.gallery import duplicates as verb
from zsretrieve.store.indexes import Gallery


def _gallery(vectors: np.ndarray, digests: list[str], backend: IndexBackend) -> Gallery:
    encoder = HashingEncoder()
    made = zs.make_prototypes("cat,dog", encoder, device="cpu").prototypes
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


def _by_hand(vectors: np.ndarray, digests: list[str], rows: np.ndarray, near: float | None) -> list[list[int]]:
    """Groups as ``find_duplicates`` describes them, each beginning with the image to keep, from all pairs.

    In these galleries images have more pixels the later they are.
    """
    exact: dict[str, list[int]] = {}
    left = []
    for row in rows[::-1].tolist():
        if digests[row] not in exact:
            left.append(row)
        if digests[row]:
            exact.setdefault(digests[row], []).append(row)
    alike = []
    scores = _scores(vectors)
    kept = {group[0] for group in exact.values() if len(group) > 1}
    while near is not None and left:
        first, close = left[0], scores[left[0]] >= np.float32(near)
        group = [row for row in left if row == first or (close[row] and row not in kept)]
        left = [row for row in left if row not in group]
        alike.append(group)
    kinds = ([group for group in groups if len(group) > 1] for groups in (exact.values(), alike))
    return [[group[0], *sorted(group[1:])] for groups in kinds for group in sorted(groups, key=min)]


def _rows(group: DuplicateGroup) -> list[int]:
    return [item.id // 3 for item in group.items]


@pytest.mark.parametrize("backend", [FaissBackend("cpu"), NumpyBackend()], ids=["faiss", "numpy"])
@pytest.mark.parametrize("near", [None, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("where", [None, "width % 3 > 0", "id < 30"])
@pytest.mark.parametrize("tiles", [(7, 5), (1024, 4096)])
def test_groups_are_those_of_all_pairs(
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
    found = zs.find_duplicates(gallery, near=near, where=where)
    assert [_rows(group) for group in found] == _by_hand(vectors, digests, rows, near)
    scores = _scores(vectors)
    for group in found:
        members = _rows(group)
        one_file = len({digests[row] for row in members}) == 1 and digests[members[0]] != ""
        assert group.kind is (DuplicateKind.EXACT if one_file else DuplicateKind.NEAR)
        assert group.keep == group.items[0].id
        assert one_file or group.lowest_score >= np.float32(near or 0)
        np.testing.assert_allclose([item.score for item in group.items], scores[members[0], members], atol=1e-6)
        assert group.lowest_score == min(item.score for item in group.items)
        assert [item.path for item in group.items] == [f"pictures/{row}.png" for row in members]
        assert [item.digest for item in group.items] == [digests[row] for row in members]
    if where is None and near in (0.95, 0.99):
        assert {group.kind for group in found} == set(DuplicateKind)


@pytest.mark.parametrize("seed", range(5))
def test_deleting_all_but_those_to_keep_loses_no_image(seed: int) -> None:
    vectors, digests = _clusters(seed)
    found = zs.find_duplicates(_gallery(vectors, digests, FaissBackend("cpu")), near=0.8)
    gone = [row for group in found for row in _rows(group)[1:]]
    assert len(gone) == len(set(gone)), "each is listed once"
    assert not {group.keep // 3 for group in found} & set(gone)


def test_a_near_group_is_no_chain() -> None:
    angles = np.radians([40, 30, 20, 10, 0, 180])
    vectors = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    gallery = _gallery(vectors, ["", "a", "", "", "a", ""], FaissBackend("cpu"))
    groups = zs.find_duplicates(gallery, near=0.98)
    assert [(group.kind, group.keep // 3, _rows(group)) for group in groups] == [
        (DuplicateKind.EXACT, 4, [4, 1]),
        (DuplicateKind.NEAR, 4, [4, 3]),
    ]
    assert groups[1].lowest_score == pytest.approx(np.cos(np.radians(10)))
    assert len(zs.find_duplicates(gallery, near=0.99)) == 1


def test_the_image_to_keep_has_most_pixels_then_bytes_then_the_shortest_path() -> None:
    gallery = _gallery(np.repeat(unit_rows(np.eye(4)[:1]), 4, axis=0), [""] * 4, FaissBackend("cpu"))
    for items, kept in (
        ([(9, 9, 5, "a"), (8, 8, 99, "b"), (9, 10, 1, "c/d"), (1, 1, 1, "e")], 2),
        ([(9, 9, 5, "a"), (9, 9, 6, "b/c"), (1, 80, 99, "d"), (9, 9, 6, "b/long")], 1),
        ([(9, 9, 5, "IMG (1).jpg"), (9, 9, 5, "IMG.jpg"), (9, 9, 5, "jmg.jpg"), (9, 9, 5, "old/IMG.jpg")], 1),
    ):
        made = tuple(
            replace(gallery.items[n], width=w, height=h, bytes=size, path=path)
            for n, (w, h, size, path) in enumerate(items)
        )
        (group,) = zs.find_duplicates(replace(gallery, items=made))
        assert _rows(group)[0] == kept == group.keep // 3


def test_unknown_digests_are_not_equal() -> None:
    vectors = unit_rows(np.eye(4))
    gallery = _gallery(vectors, ["", "", "a", "a"], FaissBackend("cpu"))
    (group,) = zs.find_duplicates(gallery)
    assert _rows(group) == [3, 2]
    assert (group.kind, group.lowest_score) == (DuplicateKind.EXACT, 0.0)


def test_progress_ends_and_wrong_requests_are_refused() -> None:
    vectors, digests = _clusters(2)
    gallery = _gallery(vectors, digests, FaissBackend("cpu"))
    steps: list[tuple[int, int]] = []
    zs.find_duplicates(gallery, on_stage=lambda _, *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1]
    for near in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(RankError, match="near is"):
            zs.find_duplicates(gallery, near=near)
    with pytest.raises(FilterError, match="no image of 160 matches"):
        zs.find_duplicates(gallery, where="width > 9999")


def test_many_equal_pictures_are_one_group() -> None:
    vectors = unit_rows(np.repeat(np.eye(8)[:2], [1500, 3], axis=0))
    found = zs.find_duplicates(_gallery(vectors, [""] * 1503, FaissBackend("cpu")))
    assert [len(group.items) for group in found] == [1500, 3]


class Asking(HashingEncoder):
    """Gives a chosen vector for any text."""

    def __init__(self, vector: np.ndarray, space_of: Gallery) -> None:
        super().__init__()
        self._vector = vector
        self.space = space_of.space

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.repeat(self._vector, len(texts), axis=0)


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
    monkeypatch.setattr("zsretrieve.gallery.search._BLOCK", block)
    vectors, digests = _clusters(3)
    gallery = _gallery(vectors, digests, FaissBackend("cpu"))
    for seed in range(5):
        query = unit_rows(vectors[seed : seed + 1] + 0.1)
        encoder: Encoder = Asking(query, gallery)
        hits = zs.search(gallery, "anything", encoder, k=k, dedup=True, near=near)
        expected = _greedy(vectors, digests, query, np.arange(160), k, near)
        assert [hit.id // 3 for hit in hits] == expected
        assert [hit.rank for hit in hits] == list(range(1, len(expected) + 1))
        assert all(one.score >= other.score for one, other in pairwise(hits))
        if k <= 60:
            rows = np.arange(1, 160, 2)
            hits = zs.search(gallery, "anything", encoder, k=k, dedup=True, near=near, where="label = 'label 1'")
            assert [hit.id // 3 for hit in hits] == _greedy(vectors, digests, query, rows, k, near)


def test_repeats_are_there_without_dedup_and_k_is_filled_behind_many_of_them() -> None:
    vectors = np.repeat(unit_rows(np.eye(8)), [500, 1, 1, 1, 1, 1, 1, 1], axis=0)
    gallery = _gallery(vectors, [""] * 507, FaissBackend("cpu"))
    query = unit_rows(np.array([[8.0, 7, 6, 5, 4, 3, 2, 1]]))
    encoder = Asking(query, gallery)
    assert [hit.id // 3 for hit in zs.search(gallery, "x", encoder, k=4)] == [0, 1, 2, 3]
    assert [hit.id // 3 for hit in zs.search(gallery, "x", encoder, k=4, dedup=True)] == [0, 500, 501, 502]
    assert len(zs.search(gallery, "x", encoder, k=20, dedup=True)) == 8
    with pytest.raises(RankError, match="near is"):
        zs.search(gallery, "x", encoder, dedup=True, near=0.0)
