"""The index over images and their regions, against a full product with every vector."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from zsretrieve.domain.errors import IndexFormatError, IndexVersionError, RankError
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.store import manifest as manifests
from zsretrieve.store import regions as region_index
from zsretrieve.store.regions import RegionIndex
from zsretrieve.store.rows import LiveVectors

BOXES = boxes_of("pyramid:2")
DIM = 24


def random(count: int, seed: int, *, twins: bool = False) -> np.ndarray:
    """Bundles of ``count`` images, float32 of shape (count, 10, DIM); with ``twins`` many vectors are equal."""
    rng = np.random.default_rng(seed)
    flat = unit_rows(rng.standard_normal((count * 10, DIM)))
    if twins:
        flat = flat[rng.integers(0, 7, len(flat))]
    return flat.reshape(count, 10, DIM)


def index_of(bundles: np.ndarray, cuts: tuple[int, ...] = (), order: np.ndarray | None = None) -> RegionIndex:
    parts = np.split(bundles, cuts)
    rows = np.arange(len(bundles)) if order is None else order
    vectors = LiveVectors([np.ascontiguousarray(part[:, 0]) for part in parts], rows, DIM)
    regions = LiveVectors([np.ascontiguousarray(part[:, 1:]).reshape(len(part), -1) for part in parts], rows, 9 * DIM)
    return RegionIndex(vectors, regions, BOXES)


def by_hand(bundles: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The score of every image: the greatest inner product in float64, rounded to float32."""
    products = np.einsum("npd,qd->qnp", bundles.astype(np.float64), queries.astype(np.float64))
    return products.astype(np.float32).max(axis=2)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    rows = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.lexsort((rows, -scores), axis=-1)[:, :k]


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_a_search_is_that_of_brute_force(n: int, twins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles, queries = random(300, 1, twins=twins), random(n, 2)[:, 0]
    order = np.random.default_rng(3).permutation(300)[:220]  # the others are not live
    order[0] = 5
    order = np.unique(order)
    index, live = index_of(bundles, (80, 81, 200), order), bundles[order]
    expected = by_hand(live, queries)
    for size in (1 << 24, 700):
        monkeypatch.setattr(region_index, "_SCORES", size)
        for k in (1, 10, len(live)):
            scores, rows = index.search(queries, k)
            np.testing.assert_array_equal(rows, best(expected, k))
            np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, axis=1), atol=1e-6)
        for count in (7, 150):
            among = np.sort(np.random.default_rng(count).permutation(len(live))[:count])
            found = index.search(queries, 5, among)[1]
            np.testing.assert_array_equal(found, among[best(expected[:, among], 5)])
        least = float(np.quantile(expected, 0.9))
        for some in (None, np.arange(3, 60)):
            limits, scores, rows = index.range_search(queries, least, some)
            reached = expected >= np.float32(least)
            if some is not None:
                reached[:, np.setdiff1d(np.arange(len(live)), some)] = False
            assert [rows[a:b].tolist() for a, b in itertools.pairwise(limits)] == [
                np.flatnonzero(one).tolist() for one in reached
            ]
            assert (scores >= np.float32(least)).all()


def test_near_ties_go_to_the_better_one_and_ties_to_the_lowest_row() -> None:
    rng = np.random.default_rng(6)
    centre = unit_rows(rng.standard_normal((1, DIM)))
    bundles = unit_rows(centre + 1e-7 * rng.standard_normal((500, DIM))).reshape(50, 10, DIM)
    bundles[[9, 30]] = bundles[4]
    np.testing.assert_array_equal(index_of(bundles).search(centre, 50)[1], best(by_hand(bundles, centre), 50))


def test_the_best_place_is_named() -> None:
    bundles = random(30, 7)
    query = bundles[11, 4][None]
    index, rows = index_of(bundles), np.arange(30)
    products = (bundles.astype(np.float64) @ query[0].astype(np.float64)).astype(np.float32)
    sharp = 1e6  # the best region alone counts
    boxes, vectors = index.best_places(query, rows, sharp)
    assert boxes == [None if place == 0 else BOXES[place - 1] for place in products.argmax(axis=1).tolist()]
    assert boxes[11] == BOXES[3]
    np.testing.assert_array_equal(vectors, bundles[rows, products.argmax(axis=1)])
    # Of equal ones the whole image counts, then the first region.
    bundles[0, [0, 5]] = bundles[1, [3, 7]] = bundles[2, [3, 5]] = query
    boxes, vectors = index_of(bundles).best_places(query, np.arange(3), sharp)
    # The seventh, at the bottom left, is another place than the third, at the top right; the fifth overlaps that.
    assert boxes == [None, BOXES[2], (0.375, 0.125, 0.875, 0.625)]
    np.testing.assert_array_equal(vectors, bundles[[0, 1, 2], [0, 3, 3]])
    assert index.best_places(query, np.empty(0, np.int64), sharp)[0] == []


def test_wrong_input_is_refused() -> None:
    index = index_of(random(5, 8))
    query = random(1, 9)[:, 0]
    for k, rows in ((0, None), (6, None), (2, np.array([1])), (1, np.array([3, 2])), (1, np.array([5]))):
        with pytest.raises(RankError):
            index.search(query, k, rows)
    with pytest.raises(RankError):
        index.range_search(query, float("nan"))
    for fetch in (index.stored, index.bundles):
        with pytest.raises(RankError):
            fetch(np.array([5]))
    assert index.search(np.empty((0, DIM), np.float32), 3)[1].shape == (0, 3)
    np.testing.assert_array_equal(index.stored(np.array([[2], [0]]))[:, 0], random(5, 8)[[2, 0], 0])


def test_versions_before_regions_refuse_a_manifest_with_them(tmp_path: Path) -> None:
    from kits.vector_gallery import vector_gallery

    plain = manifests.read(vector_gallery(tmp_path / "gallery", random(3, 0)[:, 0]))
    assert b'"format_version": 2' in manifests.to_bytes(plain)
    from dataclasses import replace

    content = manifests.to_bytes(replace(plain, regions="pyramid:2"))
    assert b'"format_version": 5' in content
    assert manifests.from_bytes(content, tmp_path / "manifest.json").regions == "pyramid:2"
    for spec in ("pyramid:9", "other"):
        with pytest.raises(IndexFormatError, match="damaged"):
            manifests.from_bytes(manifests.to_bytes(replace(plain, regions=spec)), tmp_path / "manifest.json")
    later = content.replace(b'"format_version": 5', b'"format_version": 6')
    with pytest.raises(IndexVersionError, match="format version 6"):
        manifests.from_bytes(later, tmp_path / "manifest.json")
