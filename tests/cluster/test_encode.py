"""Encoding on a real cluster: the index is that of one process, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
import ray
from kits.cluster import LocalCluster
from kits.folders import table
from kits.hashing_encoder import HashingEncoder
from kits.waiting import eventually
from kits.without import without

import zsretrieve as zs
from zsretrieve.cluster import connection, encode, schedule
from zsretrieve.cluster.workers import Decoder
from zsretrieve.demo import scenes
from zsretrieve.domain.errors import ClusterError, SkippedInputError, UsageError
from zsretrieve.images import sources
from zsretrieve.store.folder import UNITS, staged

FP32 = zs.Compute(device="cpu", precision="fp32")
UNIT = 256


# Encodes until some units are taken in, says so, and waits to be killed.
DRIVER = """
import sys, time, pathlib, zsretrieve as zs
photos, out, address, marker = sys.argv[1:]
def on_stage(name, steps, total):
    if name == "encoding images" and steps >= 512:
        pathlib.Path(marker).touch()
        time.sleep(600)
model = zs.Model("demo", zs.Compute(device="cpu", precision="fp32"))
zs.build_gallery(photos, out, model, ray=zs.Cluster(address), on_stage=on_stage)
"""


def demo() -> zs.Model:
    return zs.Model("demo", FP32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 photos, some of them equal, within a unit and in different ones; and two that are broken."""
    root = tmp_path_factory.mktemp("photos")
    rng = random.Random(31)
    names = scenes.class_names()
    for number in range(1995):
        path = root / f"{number % 10}" / f"{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        image = scenes.draw(scenes.single(names[number % len(names)], rng)).convert("RGB")
        image.resize((rng.randrange(90, 200), rng.randrange(70, 200))).save(path, quality=88)
    for copy in ("0/0000-copy", "5/0000-copy", "9/zzzz"):
        shutil.copy(root / "0" / "0000.jpg", root / f"{copy}.jpg")
    for broken in ("4/broken", "9/zzzz-broken"):
        (root / f"{broken}.jpg").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> zs.Gallery:
    return zs.build_gallery(photos, tmp_path_factory.mktemp("local") / "out", demo())


@pytest.fixture(scope="module")
def some(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of them, which is three units, with equal ones in different units and one that is broken."""
    root = tmp_path_factory.mktemp("some")
    for path in (*photos.glob("?/0[0-6]??.jpg"), *photos.glob("?/*-copy.jpg"), *photos.glob("?/[bz]*.jpg")):
        (root / path.parent.name).mkdir(exist_ok=True)
        os.link(path, root / path.parent.name / path.name)
    return root


@pytest.fixture(scope="module")
def some_local(some: Path, tmp_path_factory: pytest.TempPathFactory) -> zs.Gallery:
    return zs.build_gallery(some, tmp_path_factory.mktemp("some_local") / "out", demo())


@pytest.fixture(scope="module", autouse=True)
def is_connected(three_nodes: LocalCluster) -> Iterator[None]:
    """All builds of this process use one connection."""
    with connection.connected(three_nodes.cluster):
        yield


def assert_same(gallery: zs.Gallery, local: zs.Gallery) -> None:
    assert table(gallery) == table(local)
    assert gallery.items == local.items
    assert gallery.manifest.skipped == local.manifest.skipped
    for field in ("space", "encoding", "head", "root", "origins", "next_id"):
        assert getattr(gallery.manifest, field) == getattr(local.manifest, field)


def stopped(cluster: LocalCluster, node: Any) -> list[psutil.Process]:
    """The decoder and the encoder of a node, which do not get on any more."""
    workers = [*cluster.workers(node, "Decoder"), *cluster.workers(node, "Encoder")]
    assert len(workers) == 2
    for worker in workers:
        worker.suspend()
    return workers


def test_the_same_as_in_one_process(three_nodes: LocalCluster, photos: Path, local: zs.Gallery, tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    gallery = zs.build_gallery(
        photos, tmp_path / "out", demo(), ray=three_nodes.cluster, on_stage=lambda *stage: stages.append(stage)
    )
    assert_same(gallery, local)
    assert not zs.verify(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.copy.json", "manifest.json", "segments"]
    encoding = [done for name, done, total in stages if name == "encoding images" and total == 2000]
    assert encoding == [*range(UNIT, 2000, UNIT), 2000]
    assert ("starting 6 workers", 6, 6) in stages


def test_units_of_a_lost_node_and_of_lost_workers_are_encoded_again(
    three_nodes: LocalCluster, photos: Path, local: zs.Gallery, tmp_path: Path
) -> None:
    frozen: list[psutil.Process] = []

    def lose() -> None:
        three_nodes.kill()
        for worker in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    def on_stage(name: str, steps: int, total: int) -> None:
        if not name.startswith("starting"):
            return
        assert total == 8
        if len(three_nodes.nodes) == 4:
            three_nodes.kill()  # while its workers start
        if steps == total and not frozen:
            # Before they get their units, so that these are lost for certain.
            for node in three_nodes.nodes[-2:]:
                frozen.extend(stopped(three_nodes, node))
            threading.Timer(3.0, lose).start()

    three_nodes.restore(4)
    try:
        gallery = zs.build_gallery(photos, tmp_path / "out", demo(), ray=three_nodes.cluster, on_stage=on_stage)
    finally:
        three_nodes.restore(3)
    assert len(frozen) == 4
    assert_same(gallery, local)


def test_a_killed_driver_is_continued_from_what_is_stored(
    three_nodes: LocalCluster, photos: Path, local: zs.Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, marker = tmp_path / "out", tmp_path / "marker"
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, photos, out, three_nodes.cluster.address, marker], stderr=subprocess.PIPE
    ) as driver:
        try:
            eventually(marker.exists)
        finally:
            driver.kill()
    assert len(list((out / UNITS).glob("*.unit"))) >= 2
    found = []
    is_current = encode._is_current

    def counting(*args: Any) -> bool:
        found.append(is_current(*args))
        return bool(found[-1])

    monkeypatch.setattr(encode, "_is_current", counting)
    shutil.copytree(out, tmp_path / "other")
    assert_same(zs.build_gallery(photos, out, demo(), ray=three_nodes.cluster), local)
    assert any(found)
    assert_same(zs.build_gallery(photos, tmp_path / "other", demo()), local)
    for folder in (out, tmp_path / "other"):
        assert UNITS not in os.listdir(folder)


def test_a_worker_that_hangs_is_killed(
    three_nodes: LocalCluster, photos: Path, local: zs.Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging: list[psutil.Process] = []

    def on_stage(name: str, steps: int, total: int) -> None:
        if name == "starting 6 workers" and steps == total and not hanging:
            hanging.extend(stopped(three_nodes, three_nodes.nodes[0]))

    monkeypatch.setattr(schedule, "_FIRST_S", 20.0)
    monkeypatch.setattr(schedule, "_LEAST_S", 20.0)
    gallery = zs.build_gallery(photos, tmp_path / "out", demo(), ray=three_nodes.cluster, on_stage=on_stage)
    assert len(hanging) == 2
    assert_same(gallery, local)
    eventually(lambda: not any(worker.is_running() for worker in hanging))


@pytest.fixture
def seen_by_some(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Images of which this process finds one below its home folder, where the usual nodes have none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(photos / "0" / "0010.jpg", tmp_path / "one.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    between = ["local://~/broken.jpg", "local://~/one.jpg"]
    return [str(photos / "0" / "0000.jpg"), *between, str(photos / "0" / "0020.jpg")]


def test_images_that_a_node_does_not_see_are_encoded_on_another(
    three_nodes: LocalCluster, seen_by_some: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = zs.build_gallery(seen_by_some, tmp_path / "local", demo())
    assert (len(local.items), len(local.manifest.skipped)) == (3, 1)
    seeing = three_nodes.add(HOME=str(tmp_path))
    try:
        gallery = zs.build_gallery(seen_by_some, tmp_path / "out", demo(), ray=three_nodes.cluster)
        # Some nodes write an answer before another one is found to see another folder.
        with pytest.raises(ClusterError, match="is not the same storage on the node"):
            connection.check_shared(connection.living(), "local://~/units")
    finally:
        three_nodes.kill(seeing)
    assert_same(gallery, local)
    warned = [record.getMessage() for record in caplog.records if "leaves images to others" in record.getMessage()]
    assert len(warned) <= 3
    assert all("one.jpg' cannot be used (no such file), and this machine can use it" in one for one in warned)
    assert not list((tmp_path / "units").iterdir())


def test_images_that_no_node_sees_are_an_error(
    three_nodes: LocalCluster, seen_by_some: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match=r"0000\.jpg' to '.*0020\.jpg' failed 5 times, .* on the node .*one\.jpg"):
        zs.build_gallery(seen_by_some, tmp_path / "out", demo(), ray=three_nodes.cluster)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_begun_in_one_place_and_continued_in_the_other(
    three_nodes: LocalCluster, some: Path, some_local: zs.Gallery, tmp_path: Path
) -> None:
    def interrupt(name: str, steps: int, _: int) -> None:
        if name == "encoding images" and steps >= 300:
            raise KeyboardInterrupt

    here, there = tmp_path / "here", tmp_path / "there"
    behind_a_url = replace(three_nodes.cluster, storage=(tmp_path / "storage").as_uri())
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(some, here, demo(), on_stage=interrupt)
    with pytest.raises(SkippedInputError, match=r"4/broken\.jpg' cannot be used: not a readable image"):
        zs.build_gallery(some, there, demo(), reading=zs.Reading(strict=True), ray=behind_a_url)
    before_broken = sum(item.path < "4/broken" for item in some_local.items)
    for out, least in ((here, 290), (there, before_broken)):
        build = staged(out)
        assert build is not None
        assert least <= build.count < 700
    assert_same(zs.build_gallery(some, here, demo(), ray=behind_a_url), some_local)
    assert_same(zs.build_gallery(some, there, demo()), some_local)
    # Those of the build that was finished elsewhere stay, each folder being of one build.
    assert len({unit.parent for unit in (tmp_path / "storage").rglob("*.unit")}) == 1


def test_what_is_refused_before_any_work(
    three_nodes: LocalCluster, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FREED_S", 0.5)
    out = tmp_path / "out"
    with pytest.raises(ClusterError, match=r"'memory://units/[0-9a-f]+' is not the same storage"):
        zs.build_gallery(photos, out, demo(), ray=replace(three_nodes.cluster, storage="memory://units"))
    fsspec.filesystem("memory").pipe_file("/photos/one.jpg", (photos / "0" / "0000.jpg").read_bytes())
    with pytest.raises(ClusterError, match=r"does not see 'memory://photos/one.jpg' as this machine does"):
        zs.build_gallery("memory://photos", out, demo(), ray=three_nodes.cluster)
    with pytest.raises(ClusterError, match="of which 3 CPUs and 0 GPUs are free; encoding needs at least a GPU"):
        zs.build_gallery(photos, out, zs.Model("demo", zs.Compute(device="cuda")), ray=three_nodes.cluster)
    actor = ray.remote(Decoder)
    taken = [actor.options(num_cpus=1).remote(sources.folder(photos), 1) for _ in range(3)]
    ray.get([one.ready.remote() for one in taken])
    with pytest.raises(ClusterError, match=r"4 nodes with 3 CPUs and 0 GPUs, of which 0 CPUs .* half a CPU"):
        zs.build_gallery(photos, out, demo(), ray=three_nodes.cluster)
    assert not out.exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (zs.Model("demo", zs.Compute(precision="int8")), "int8, which is calibrated on one machine"),
        (zs.Model("demo", zs.Compute(device="cuda:1")), "the device 'cuda:1'"),
        (HashingEncoder(), "an encoder that is loaded already"),
    ],
)
def test_models_that_do_not_run_on_a_cluster(photos: Path, tmp_path: Path, model: zs.Model, said: str) -> None:
    with pytest.raises(UsageError, match=f"{said}.* does not run on a cluster"):
        zs.build_gallery(photos, tmp_path / "out", model, ray=zs.Cluster("127.0.0.1:1"))


def test_the_command_names_the_extra(photos: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zsretrieve", "index", "gallery", photos, tmp_path / "out", "--ray", "auto"],
        capture_output=True, text=True, env=without("ray"), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: encoding on a cluster needs Ray" in done.stderr
    assert "zsretrieve[cluster]" in done.stderr
    assert not (tmp_path / "out").exists()
