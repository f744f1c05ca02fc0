"""An index whose rows are split, against the same index in one piece; here the shards are in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.calibrated import Calibrated, calibrated
from kits.candidates import index_in_parts
from kits.index_kit import check_index, full_sort
from kits.shards import ShardedBackend, ShardsHere, sharded_here
from kits.vector_gallery import put, vector_gallery

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.cluster.placing import spread
from zsretrieve.cluster.shard import Held, NotHeldError, Shard
from zsretrieve.cluster.sharded import ShardedIndex, cuts_of, held_by_each
from zsretrieve.domain.errors import IndexFolderError, IntegrityError, MissingRowsError
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.ranking import rescored
from zsretrieve.domain.records import Segment
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.store.folder import SEGMENTS
from zsretrieve.store.rows import VECTORS, LiveVectors

SHARDS, DIM = 3, 24


def split(folder: Path, segments: tuple[Segment, ...], vectors: LiveVectors) -> ShardedIndex:
    cuts = cuts_of(len(vectors), SHARDS)
    return ShardedIndex(vectors, cuts, ShardsHere(SHARDS).hold("rows", held_by_each(folder, segments, vectors, cuts)))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[Path, tuple[Segment, ...], LiveVectors]]:
    """Segments of some sizes in a folder; rows are in the order given, by default all as they are stored."""

    def write(*sizes: int, order: np.ndarray | None = None) -> tuple[Path, tuple[Segment, ...], LiveVectors]:
        segments, parts = [], []
        for number, size in enumerate(sizes):
            where = tmp_path / SEGMENTS / f"s{number}"
            where.mkdir(parents=True)
            np.save(where / VECTORS, unit_rows(np.random.default_rng(number).standard_normal((size, DIM))))
            segments.append(Segment(f"s{number}", size))
            parts.append(np.load(where / VECTORS, mmap_mode="r"))
        return tmp_path, tuple(segments), LiveVectors(parts, np.arange(sum(sizes)) if order is None else order, DIM)

    return write


def test_the_kit_of_exact_indexes(tmp_path: Path) -> None:
    check_index(ShardedBackend(tmp_path / "indexes", split), tmp_path)


@pytest.mark.parametrize("order", [None, "removed", "replaced"])
def test_it_equals_one_index_bit_by_bit(written: Callable[..., Any], order: str | None) -> None:
    """Also where rows are removed and replaced, so that they are scattered over the files."""
    rows = np.arange(1000)
    if order == "removed":
        rows = np.delete(rows, np.arange(0, 1000, 7))
    elif order == "replaced":
        rows[100:300] = rows[800:1000]
        rows = rows[:800]
    folder, segments, vectors = written(500, 300, 200, order=rows)
    index = split(folder, segments, vectors)
    whole = FaissBackend("cpu").create(DIM)
    whole.add(vectors.whole())
    queries = unit_rows(np.random.default_rng(9).standard_normal((600, DIM)))
    for k in (1, 10, len(rows)):
        scores, found = index.search(queries, k)
        np.testing.assert_array_equal(found, whole.search(queries, k)[1])
        np.testing.assert_array_equal(scores, rescored(queries, found, whole.stored))
    among = np.flatnonzero(np.arange(len(rows)) % 3 == 1)
    np.testing.assert_array_equal(index.search(queries, 9, among)[1], whole.search(queries, 9, among)[1])
    for mine, theirs in zip(
        index.range_search(queries, 0.4, among), whole.range_search(queries, 0.4, among), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_only_the_shards_that_hold_selected_rows_are_asked(written: Callable[..., Any]) -> None:
    folder, segments, vectors = written(300)
    cuts = cuts_of(300, SHARDS)
    shards = ShardsHere(SHARDS)
    index = ShardedIndex(vectors, cuts, shards.hold("rows", held_by_each(folder, segments, vectors, cuts)))
    queries = np.ascontiguousarray(vectors.take(np.arange(2)))
    index.search(queries, 1, np.arange(0, 100))
    index.search(queries, 1, np.array([150, 299]))
    assert shards.asked == [{0}, {1, 2}]


def test_missing_rows_are_an_error_that_says_what_is_left(written: Callable[..., Any]) -> None:
    folder, segments, vectors = written(300)
    cuts = cuts_of(300, SHARDS)
    shards = ShardsHere(SHARDS)
    index = ShardedIndex(vectors, cuts, shards.hold("rows", held_by_each(folder, segments, vectors, cuts)))
    queries = np.ascontiguousarray(vectors.take(np.arange(5)))
    shards.gone = {1}
    for ask in (lambda rows: index.search(queries, 1, rows), lambda rows: index.range_search(queries, 0.5, rows)):
        with pytest.raises(
            MissingRowsError, match="100 of 300 images cannot be compared: shard 2 of 3 did not"
        ) as caught:
            ask(None)
        np.testing.assert_array_equal(caught.value.available, [*range(100), *range(200, 300)])
        with pytest.raises(MissingRowsError, match="1 of 2 images"):
            ask(np.array([3, 150]))
    scores, found = index.search(queries, 200, caught.value.available)
    expected_scores, places = full_sort(vectors.take(caught.value.available), queries, 200)
    np.testing.assert_array_equal(found, caught.value.available[places])
    np.testing.assert_array_equal(scores, expected_scores)
    shards.partial = False
    with pytest.raises(MissingRowsError) as caught:
        index.search(queries, 1)
    assert caught.value.available is None


def test_fewer_rows_than_shards(written: Callable[..., Any]) -> None:
    folder, segments, vectors = written(2)
    index = split(folder, segments, vectors)
    np.testing.assert_array_equal(index.search(np.ascontiguousarray(vectors.take(np.arange(2))), 1)[1], [[0], [1]])


def test_what_cannot_be_held_is_reported_and_the_rest_is(written: Callable[..., Any]) -> None:
    folder, segments, vectors = written(30)
    sound = Held.of(folder, segments, vectors, 0, 30, reads=True)
    shard = Shard()
    elsewhere = Held(folder / "gone", segments, DIM, (0, 30))
    short = Held(folder, (Segment("s0", 31),), DIM, (0, 30))
    problems = shard.hold({"sound": sound, "elsewhere": elsewhere, "short": short})
    assert {key: type(error) for key, error in problems.items()} == {
        "elsewhere": IndexFolderError, "short": IntegrityError,
    }  # fmt: skip
    assert "is not on the node" in str(problems["elsewhere"])
    queries = np.ascontiguousarray(vectors.take(np.arange(3)))
    assert shard.search("sound", queries, 1, None)[1].tolist() == [[0], [1], [2]]
    with pytest.raises(NotHeldError):
        shard.search("short", queries, 1, None)
    shard.hold({})
    with pytest.raises(NotHeldError):
        shard.search("sound", queries, 1, None)


def test_consecutive_rows_stay_in_the_files(written: Callable[..., Any]) -> None:
    folder, segments, vectors = written(500, 500)
    held = Held.of(folder, segments, vectors, 250, 900, reads=False)
    assert held.places == (250, 900)
    assert all(isinstance(part.base, np.memmap) for part in held.open()._aligned())
    assert all(isinstance(part.base, np.memmap) for part in replace(held, reads=True).open()._aligned())
    scattered = LiveVectors(vectors.parts, np.arange(0, 1000, 2), DIM)
    assert Held.of(folder, segments, scattered, 10, 20, reads=True).places.tolist() == list(range(20, 40, 2))


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Calibrated]:
    """A gallery whose approximate index is in five parts, that covers no more than most of the images."""
    data = calibrated(4000, 32, 200)
    out = vector_gallery(tmp_path_factory.mktemp("parts") / "gallery", data.images)
    effort = Effort(100, probes=6, exact_below=0)
    index_in_parts(out, "IVF32,SQ8", 900, effort)
    put(out, [unit_rows(np.random.default_rng(1).standard_normal((1, 32)))[0] for _ in range(3)])
    zs.remove(out, where="label = '7'")
    return out, data


def test_parts_on_shards_name_the_candidates_of_one_process(in_parts: tuple[Path, Calibrated]) -> None:
    out, data = in_parts
    plain = zs.open_gallery(out, device="cpu")
    assert len(plain.manifest.approximate.parts) == 5
    for count in (1, 3, 8):
        gallery, shards = sharded_here(out, count)
        for queries in (data.queries, data.texts):
            for among in (None, np.flatnonzero(np.arange(len(plain.items)) % 3 == 1), np.arange(100, 500)):
                rows, is_exact = gallery.nearest(queries, 10, among)
                expected, expected_exact = plain.nearest(queries, 10, among)
                np.testing.assert_array_equal(rows, expected)
                np.testing.assert_array_equal(is_exact, expected_exact)
        assert not is_exact.all()
        assert any(len(one) < min(count, 5) for one in shards.asked) or count == 1


def test_parts_of_a_lost_shard_are_missing(in_parts: tuple[Path, Calibrated]) -> None:
    out, data = in_parts
    gallery, shards = sharded_here(out, 5)
    shards.gone = {2}
    hits = zs.search(gallery, data.texts[0], wanted=zs.Wanted(k=10))
    lost = gallery.ids[(gallery.ids >= 1800) & (gallery.ids < 2700)]
    assert hits.n_missing == len(lost)
    assert not {hit.id for hit in hits} & set(lost.tolist())
    everything = zs.search(gallery, data.texts[0], wanted=zs.Wanted(k=10, exact=True))
    assert everything.n_missing == len(gallery.items) // 5
    shards.gone = set()
    assert zs.search(gallery, data.texts[0], wanted=zs.Wanted(k=10)).n_missing == 0


@pytest.mark.parametrize(("nodes", "count", "replicas"), [(4, 4, 2), (3, 4, 2), (2, 3, 2), (3, 2, 3), (5, 1, 4)])
def test_replicas_of_a_shard_are_on_different_nodes(nodes: int, count: int, replicas: int) -> None:
    for seed in range(20):
        bundles = np.random.default_rng(seed).permutation(count * replicas).tolist()
        node_of = {bundle: f"node {place % nodes}" for place, bundle in enumerate(bundles)}
        chosen = spread(node_of, count, replicas)
        assert sorted(bundle for own in chosen for bundle in own) == list(range(count * replicas))
        for own in chosen:
            assert len({node_of[bundle] for bundle in own}) == replicas
