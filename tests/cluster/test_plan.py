"""Which workers a cluster gets, and units and their files: no cluster is needed for these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.pictures import pictures

from zsretrieve.cluster import encode, unit_files
from zsretrieve.cluster.connection import Node, Nodes
from zsretrieve.cluster.encode import ClusterEncoder
from zsretrieve.cluster.pool import Pool, plan
from zsretrieve.cluster.unit_files import EncodedUnit, Recipe, Unit
from zsretrieve.cluster.workers import Decoder, Description
from zsretrieve.domain.errors import ClusterError
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.records import Item, Skipped
from zsretrieve.domain.settings import Reading
from zsretrieve.images import sources
from zsretrieve.images.sources import SourceFile


def nodes(*has: tuple[float, float]) -> Nodes:
    return Nodes(tuple(Node(str(number), f"10.0.0.{number}", *each) for number, each in enumerate(has)))


def shares(of: Nodes, device: str = "auto") -> tuple[list[tuple[str, float, float]], list[tuple[str, float, int]]]:
    wanted = plan(of, of, device)
    return (
        [(share.node.id, share.cpus, share.gpus) for share in wanted.encoders],
        [(share.node.id, share.cpus, share.threads) for share in wanted.decoders],
    )


def test_without_gpus_each_node_decodes_and_encodes() -> None:
    assert shares(nodes((0, 0), (1, 0), (5, 0), (16, 0), (0.3, 0))) == (
        [("1", 0.5, 0.0), ("2", 2.0, 0.0), ("3", 8.0, 0.0)],
        [("1", 0.5, 1), ("2", 3.0, 3), ("3", 8.0, 8)],
    )


def test_with_gpus_all_other_processors_decode() -> None:
    assert shares(nodes((8, 2), (4, 0), (1, 1))) == (
        [("0", 1.0, 1.0), ("0", 1.0, 1.0), ("2", 0.0, 1.0)],
        [("0", 6.0, 6), ("1", 4.0, 4), ("2", 1.0, 1)],
    )
    assert shares(nodes((8, 2), (4, 0)), "cpu")[0] == [("0", 4.0, 0.0), ("1", 2.0, 0.0)]


def test_auto_leaves_parts_of_gpus_alone() -> None:
    assert shares(nodes((2, 0.5), (2, 0.5)))[0] == [("0", 1.0, 0.0), ("1", 1.0, 0.0)]


@pytest.mark.parametrize(
    ("has", "device", "said"),
    [
        (
            (0.0, 0.0),
            "auto",
            "8 CPUs and 2 GPUs, of which 0 CPUs and 0 GPUs are free; encoding .* half a CPU on one",
        ),
        ((8.0, 0.0), "cuda", "of which 8 CPUs and 0 GPUs are free; encoding needs at least a GPU and half a CPU"),
        ((0.0, 2.0), "auto", "of which 0 CPUs and 2 GPUs are free; encoding needs at least a GPU and half a CPU"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(has: tuple[float, float], device: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        plan(nodes((8, 2)), nodes(has), device)


@pytest.fixture
def unit(demo_encoder: Encoder) -> Unit:
    recipe = Recipe(demo_encoder.space, demo_encoder.encoding, 32, Reading(), "/photos")
    return Unit(recipe, (SourceFile("a.jpg", "x", 5), SourceFile("b\udcff.jpg", None, 6)))


def test_the_name_of_a_unit_is_all_that_decides_it(unit: Unit) -> None:
    others = [
        replace(unit, files=unit.files[:1]),
        replace(unit, files=(unit.files[0], replace(unit.files[1], id=7))),
        replace(unit, files=(replace(unit.files[0], label="y"), unit.files[1])),
        replace(unit, recipe=replace(unit.recipe, batch_size=64)),
        replace(unit, recipe=replace(unit.recipe, root="/other")),
        replace(unit, recipe=replace(unit.recipe, reading=Reading(exif=False))),
        replace(unit, recipe=replace(unit.recipe, encoding=replace(unit.recipe.encoding, precision="bf16"))),
        replace(unit, recipe=replace(unit.recipe, space=replace(unit.recipe.space, weights="sha256:0"))),
    ]
    assert len({one.name for one in [unit, *others]}) == 1 + len(others)
    assert replace(unit, files=tuple(unit.files)).name == unit.name


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_unit_comes_back_from_its_file_or_not_at_all(count: int) -> None:
    items = [Item(n, f"b\udcff{n}.jpg", None, 4, 3, 12, 99, f"{n:064}") for n in range(count)]
    vectors = np.random.default_rng(count).standard_normal((count, 8)).astype(np.float32)
    skipped = ((count, Skipped("c\udcff.jpg", "empty file")),)
    content = unit_files.to_bytes(EncodedUnit(items, vectors, skipped, ("d.png",)))
    back = unit_files.from_bytes(content)
    assert back is not None
    assert list(back.items) == items
    assert np.array_equal(back.vectors, vectors)
    assert back.vectors.shape == (count, 8)
    assert (back.skipped, back.scaled) == (skipped, ("d.png",))
    damaged = bytearray(content)
    damaged[-9] ^= 1
    for torn in (b"", content[:20], content[:-1], bytes(damaged)):
        assert unit_files.from_bytes(torn) is None


def test_a_stored_unit_with_skipped_images_is_not_current(unit: Unit, tmp_path: Path) -> None:
    source = sources.folder(pictures(tmp_path, 2))
    unit = replace(unit, files=source.files)
    _, decoded = Decoder(source, 1).decode(unit)
    whole = EncodedUnit(decoded.items, np.zeros((2, 8), np.float32), (), ())
    assert encode._is_current(source, unit, whole)
    skipped = ((1, Skipped(source.files[1].path, "permission denied")),)
    assert not encode._is_current(source, unit, replace(whole, items=decoded.items[:1], skipped=skipped))


def test_a_storage_that_fails_at_the_end_is_a_warning(
    demo_encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    description = Description(demo_encoder.space, demo_encoder.head, demo_encoder.encoding, 32)
    ClusterEncoder(Pool([], [], description), str(tmp_path / "file")).discard()
    assert "encoded units could not be deleted: the storage" in caplog.text
