"""Searching on a real cluster of Ray: the answers of one process, also while nodes die."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import ray
from kits.calibrated import Calibrated, calibrated
from kits.candidates import index_in_parts
from kits.cluster import LocalCluster
from kits.index_kit import check_index
from kits.partial_answers import PartialAnswers
from kits.shards import ShardedBackend
from kits.vector_gallery import put, vector_gallery
from kits.waiting import PATIENCE_S, eventually
from kits.web import running

import zsretrieve as zs
from zsretrieve.cluster import shard_pool as pool
from zsretrieve.domain.errors import ClusterError, IntegrityError, MissingRowsError
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.records import Segment
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.rows import LiveVectors

COUNT, DIM, SHARDS = 4000, 32, 4
# Where shards die, a search waits so long for one that is slow to be known as dead.
DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def data() -> Calibrated:
    return calibrated(COUNT, DIM, 200)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, data: Calibrated) -> Path:
    return vector_gallery(tmp_path_factory.mktemp("ray") / "gallery", data.images)


@pytest.fixture(scope="module")
def plain(out: Path) -> Gallery:
    return zs.open_gallery(out, device="cpu")


def settings(nodes: LocalCluster, **given: Any) -> zs.Shards:
    return zs.Shards(nodes.cluster, **{"count": SHARDS, "deadline_s": PATIENCE_S, **given})


@pytest.fixture(scope="module")
def spread(three_nodes: LocalCluster, out: Path) -> Gallery:
    return zs.open_gallery(out, ray=settings(three_nodes))


def actors_of(shards: zs.Shards) -> list[Any]:
    return [replica.actor for replica in pool._pools[shards]._all]


@pytest.fixture(autouse=True)
def only_what_is_used() -> Iterator[None]:
    """Shards of the tests before have ended."""
    yield
    # A test that failed keeps its shards.
    eventually(lambda: gc.collect() >= 0 and len(pool._pools) <= 1, within=60)


def test_the_kit_of_exact_indexes(three_nodes: LocalCluster, spread: Gallery, tmp_path: Path) -> None:
    elsewhere = pool.Spread(settings(three_nodes))

    def sharded(folder: Path, segments: tuple[Segment, ...], vectors: LiveVectors) -> Any:
        return elsewhere.exact(folder, SimpleNamespace(segments=segments, approximate=None), vectors)

    check_index(ShardedBackend(tmp_path / "indexes", sharded), tmp_path)


def test_two_hundred_searches_at_once_are_those_of_one_process(
    spread: Gallery, plain: Gallery, data: Calibrated
) -> None:
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
    used = ray.util.placement_group_table(next(iter(pool._pools.values()))._group)["bundles_to_node_id"]
    assert set(used.values()) == nodes
    among = np.flatnonzero(np.arange(COUNT) % 3 == 1)
    barrier = threading.Barrier(200)

    def search(number: int) -> None:
        query, k, some = data.texts[number : number + 1], 1 + number % 50, among if number % 2 else None
        barrier.wait()
        for _ in range(3):
            scores, rows = spread.index.search(query, k, some)
            np.testing.assert_array_equal(rows, plain.index.search(query, k, some)[1])
            assert (np.diff(scores[0]) <= 0).all()

    with ThreadPoolExecutor(200) as threads:
        for done in [threads.submit(search, number) for number in range(200)]:
            done.result()
    queries = list(data.texts[:20])
    for wanted in (zs.Wanted(k=30), zs.Wanted(k=9, where="label = '3'"), zs.Wanted(k=5, min_score=0.2)):
        found, expected = (zs.search_all(gallery, queries, wanted=wanted) for gallery in (spread, plain))
        assert [hits._found for hits in found] == [hits._found for hits in expected]


def test_an_approximate_index_in_parts_finds_what_it_finds_in_one_process(
    three_nodes: LocalCluster, spread: Gallery, data: Calibrated, tmp_path: Path
) -> None:
    out = vector_gallery(tmp_path / "gallery", data.images)
    index_in_parts(out, "IVF32,PQ16x4fsr", 900, Effort(100, 6, exact_below=0))
    put(out, [unit_rows(np.random.default_rng(1).standard_normal((1, DIM)))[0]])
    zs.remove(out, where="label = '7'")
    plain, spread = zs.open_gallery(out, device="cpu"), zs.open_gallery(out, ray=settings(three_nodes))
    for queries in (data.queries, data.texts):
        for among in (None, np.flatnonzero(np.arange(len(plain.items)) % 3 == 1)):
            rows, is_exact = spread.nearest(queries, 10, among)
            assert not is_exact.any()
            np.testing.assert_array_equal(rows, plain.nearest(queries, 10, among)[0])


def test_a_process_that_ends_is_started_again_and_holds_its_rows(
    three_nodes: LocalCluster, out: Path, plain: Gallery, data: Calibrated
) -> None:
    """By itself, which Ray repairs; and for good, which the watcher does."""
    answers = PartialAnswers(plain.index, data.texts[:1], 9, SHARDS)
    shards = settings(three_nodes, deadline_s=DEADLINE_S)
    spread = zs.open_gallery(out, ray=shards)
    seen = [0]

    def changes() -> bool:
        hits = zs.search(spread, data.texts[0], wanted=zs.Wanted(k=9))
        seen.append(hits.n_missing)
        assert hits.n_missing in (0, COUNT // SHARDS)
        assert answers.has(0, hits.n_missing, [hit.id for hit in hits])
        return seen[-1] != seen[-2]

    for for_good in (False, True):
        ray.kill(actors_of(shards)[1], no_restart=for_good)
        eventually(changes)
        eventually(changes)
        assert seen[-1] == 0


def test_a_shard_that_starts_again_after_a_change_says_so(
    three_nodes: LocalCluster, data: Calibrated, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = vector_gallery(tmp_path / "gallery", data.images)
    zs.remove(out, where="id = 5")
    shards = settings(three_nodes, count=2, deadline_s=DEADLINE_S)
    spread = zs.open_gallery(out, ray=shards)
    zs.compact(out)
    expected = zs.search(zs.open_gallery(out, device="cpu"), data.texts[0])
    assert zs.search(spread, data.texts[0]) == expected, "shards still map the old files"
    ray.kill(actors_of(shards)[1], no_restart=False)

    def is_said() -> bool:
        try:
            return not zs.search(spread, data.texts[0])
        except ClusterError as error:
            return "has changed since it was opened, and shard 2 of 2 was started again" in error.message

    eventually(is_said)
    assert "answers again" not in caplog.text
    assert zs.search(zs.open_gallery(out, ray=shards), data.texts[0]) == expected


def test_parts_that_are_replaced_while_they_are_opened_are_done_without(
    three_nodes: LocalCluster, plain: Gallery, data: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = vector_gallery(tmp_path / "gallery", data.images)
    index_in_parts(out, "IVF32,PQ16x4fsr", 2000, Effort(100, 6, exact_below=0))
    gallery = zs.open_gallery(out, ray=settings(three_nodes))
    assert gallery.approximate is not None
    held, file = pool.Spread._held, out / gallery.approximate.made.parts[1].file

    def replaced(self: pool.Spread, parts: Any) -> Any:
        file.unlink()
        return held(self, parts)

    monkeypatch.setattr(pool.Spread, "_held", replaced)
    rows, is_exact = gallery.nearest(data.texts[:3], 5)
    assert is_exact.all()
    np.testing.assert_array_equal(rows, plain.index.search(data.texts[:3], 5)[1])


def test_what_does_not_fit_is_refused_with_the_numbers(
    three_nodes: LocalCluster, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Ray is asked, which would wait for room."""
    monkeypatch.setattr("ray.util.placement_group", lambda *_, **__: pytest.fail("Ray is asked"))
    with pytest.raises(ClusterError, match=r"100 shards need 20\.0 CPUs, and of 4 nodes with 3 CPUs and 0 GPUs \d"):
        zs.open_gallery(out, ray=settings(three_nodes, count=100))
    with pytest.raises(ClusterError, match="4 replicas need as many nodes, and the cluster has 3 nodes"):
        zs.open_gallery(out, ray=settings(three_nodes, replicas=4))


def test_files_that_are_not_sound_are_refused(
    three_nodes: LocalCluster, spread: Gallery, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pool.held_by_each

    def moved(folder: Path, segments: tuple[Segment, ...], *more: Any, **how: Any) -> Any:
        return read(folder, tuple(Segment(one.name, one.rows + 1) for one in segments), *more, **how)

    monkeypatch.setattr(pool, "held_by_each", moved)
    with pytest.raises(IntegrityError, match="are not float32 of shape"):
        zs.open_gallery(out, ray=settings(three_nodes))


class Load:
    """Threads that search all the time, and what they saw: when, how long it took, and how many images were missing."""

    def __init__(self, spread: Gallery, plain: Gallery, data: Calibrated, threads: int = 8) -> None:
        self.seen: list[tuple[float, float, int]] = []
        self.wrong: list[Any] = []
        self._answers = PartialAnswers(plain.index, data.texts, 5, SHARDS)
        self._spread, self._data, self._is_over = spread, data, False
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    @property
    def whole_since(self) -> int:
        """How many answers were whole after the last that was not."""
        return len(list(itertools.takewhile(lambda one: one[2] == 0, reversed(self.seen))))

    def _run(self, number: int) -> None:
        while not self._is_over:
            number = (number + 1) % len(self._data.texts)
            start = time.monotonic()
            try:
                hits = zs.search(self._spread, self._data.texts[number], wanted=zs.Wanted(k=5))
                missing, ids = hits.n_missing, [hit.id for hit in hits]
                if not self._answers.has(number, missing, ids):
                    self.wrong.append((number, missing, ids))
            except MissingRowsError as error:
                missing = -1
                if "did not answer in time" not in error.message:
                    self.wrong.append(error)
            except Exception as error:
                self.wrong.append(error)
                raise
            self.seen.append((start, time.monotonic() - start, missing))


@pytest.mark.parametrize("partial", [True, False], ids=["part", "whole"])
def test_a_lost_node_is_stated_and_its_shards_come_back(
    three_nodes: LocalCluster, out: Path, plain: Gallery, data: Calibrated, *, partial: bool
) -> None:
    shards = settings(three_nodes, partial=partial, deadline_s=DEADLINE_S)
    spread = zs.open_gallery(out, ray=shards)
    with Load(spread, plain, data) as load:
        eventually(lambda: len(load.seen) > 50)
        three_nodes.kill()
        eventually(lambda: any(missing for *_, missing in load.seen))
        eventually(lambda: load.whole_since > 300)
    three_nodes.restore(3)
    assert load.wrong == []
    assert {missing for *_, missing in load.seen} <= ({0, COUNT // SHARDS, COUNT // 2} if partial else {0, -1})
    # Two searches: one that finds out, and one among the rest; and what a busy machine takes.
    assert max(took for _, took, _ in load.seen) < 2 * DEADLINE_S + 30


def test_replicas_take_turns(three_nodes: LocalCluster, out: Path, data: Calibrated) -> None:
    """Also for a search at a time, and with as many replicas as divide the shards."""
    shards = settings(three_nodes, replicas=2)
    spread = zs.open_gallery(out, ray=shards)
    asked: list[object] = []

    class Counting:
        def __init__(self, actor: Any) -> None:
            self.hold, self._search = actor.hold, actor.search

        @property
        def search(self) -> Any:
            asked.append(self)
            return self._search

    replicas = list(pool._pools[shards]._all)
    eventually(lambda: all(replica.is_up and replica.held for replica in replicas))
    for replica in replicas:
        replica.actor = Counting(replica.actor)
    for number in range(4):
        zs.search(spread, data.texts[number])
    assert sorted(Counter(map(id, asked)).values()) == [2] * 2 * SHARDS


def test_replicas_hide_a_lost_node(three_nodes: LocalCluster, out: Path, plain: Gallery, data: Calibrated) -> None:
    patience = 120.0  # a replica that is there must never miss it
    shards = settings(three_nodes, replicas=2, deadline_s=patience)
    spread = zs.open_gallery(out, ray=shards)
    with Load(spread, plain, data) as load:
        eventually(lambda: len(load.seen) > 50)
        three_nodes.kill()
        before = len(load.seen)
        time.sleep(3.0)
        eventually(lambda: len(load.seen) > before + 200)
    three_nodes.restore(3)
    assert load.wrong == []
    assert {missing for *_, missing in load.seen} == {0}
    assert max(took for _, took, _ in load.seen) < patience / 6, "another replica answers before the deadline"


def test_the_server_answers_as_without_a_cluster(three_nodes: LocalCluster, data: Calibrated, tmp_path: Path) -> None:
    """Also after the gallery has changed, which its shards follow."""
    out = vector_gallery(tmp_path / "gallery", data.images)
    # However busy the machine is, no shard counts as lost.
    on_ray = ("--ray", three_nodes.cluster.address, "--shards", "3", "--shard-deadline", "60")
    bodies = [
        {"terms": [{"id": 5}], "k": 20},
        {"terms": [{"id": 5}, {"id": 900, "weight": -0.5}], "k": 20, "where": "label = '3'"},
        {"terms": [{"id": 7}], "min_score": 0.3},
    ]
    with running(out, "--no-warm") as local, running(out, "--no-warm", *on_ray) as there:

        def answers(server: Any) -> list[Any]:
            place = f"{server.address}/api/v1/galleries/gallery"
            found = [httpx.post(f"{place}/search", json=body, timeout=60).raise_for_status().json() for body in bodies]
            item = httpx.get(f"{place}/items/5", timeout=60).raise_for_status().json()
            return [*({key: one[key] for key in one if key != "seconds"} for one in found), item]

        before = answers(there)
        assert before == answers(local)
        assert len(before[0]["hits"]) == 20
        put(out, [unit_rows(data.images[5:6] + 0.01)[0]])
        for server in (there, local):
            eventually(lambda server=server: answers(server) != before)
        found, expected = answers(there), answers(local)
        for key in ("n_images", "revision", "n_missing", "exact"):
            assert found[0][key] == expected[0][key]
        assert found == expected
        assert found[0]["n_images"] == COUNT + 1
        assert there.stop() == 0


def test_shards_end_with_the_last_index(three_nodes: LocalCluster, out: Path, data: Calibrated) -> None:
    shards = settings(three_nodes, count=2)
    first, second = (zs.open_gallery(out, ray=shards) for _ in range(2))
    assert len(pool._pools[shards]._wanted) == 2
    del first
    eventually(lambda: len(pool._pools[shards]._wanted) == 1)
    assert second.index.search(data.texts[:1], 1)[1].shape == (1, 1)
    free = ray.available_resources()["CPU"]
    del second
    eventually(lambda: shards not in pool._pools)
    eventually(lambda: ray.available_resources()["CPU"] > free + 0.3)
