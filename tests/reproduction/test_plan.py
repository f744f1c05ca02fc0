import os

import pytest

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Encoding
from zsretrieve.reproduction.plan import plan
from zsretrieve.reproduction.tables import Cost, Table, TableModel

PROMPTS = {name: zs.read_prompts(["cat", "dog", "cat"], name) for name in ("raw", "standard", "openai7")}
TABLE = Table(
    "three", "three", ("raw",),
    (
        TableModel("A/a", "A", cost=Cost(512, 100.0, 10.0, 7.7)),
        TableModel("B/b", "B", cost=Cost(256, 50.0, 20.0, 7.7, whole_context=True)),
        TableModel("torchvision:resnet50", "R", cost=Cost(2050, 25.0, 8.0)),
        TableModel("local", "L"),
    ),
    {}, 0.3, 10_000,
)  # fmt: skip
CACHED = {"A/a": True, "B/b": False, "torchvision:resnet50": False, "local": True}


def test_what_is_added_up() -> None:
    encoding = Encoding("openvino", "fp32", "cpu")
    made = plan(TABLE, 10_000, PROMPTS, is_cached=CACHED.get, encoding=encoding, gflops=1.25)
    # Equal names are encoded once: 2 + 2 + 14 prompts.
    assert made.n_prompts == 18
    a, b, r, local = made.models
    assert (a.download_bytes, b.download_bytes, r.download_bytes) == (0, 200_000_000, 100_000_000)
    # Converted models are stored too, and vectors twice.
    assert a.disk_bytes == 400_000_000 + 2 * 10_000 * 512 * 4
    assert b.disk_bytes == 400_000_000 + 2 * 10_000 * 256 * 4
    assert r.disk_bytes == 100_000_000 + 2 * 10_000 * 2050 * 4
    # At 1.25 x 0.8 GFLOP/s one operation in a thousand million takes a second.
    assert a.seconds == pytest.approx(10_000 * 10.0 + 18 * 7.7 * 9.6 / 77)
    assert b.seconds == pytest.approx(10_000 * 20.0 + 18 * 7.7)
    assert r.seconds == pytest.approx(10_000 * 8.0)
    assert (local.download_bytes, local.disk_bytes, local.seconds) == (0, None, None)
    assert made.download_bytes == 300_000_000
    assert made.disk_bytes == sum(one.disk_bytes or 0 for one in (a, b, r))
    assert made.seconds == pytest.approx(sum(one.seconds or 0 for one in (a, b, r)))


def test_reading_bounds_a_fast_machine() -> None:
    encoding = Encoding("torch", "bf16", "cuda")
    made = plan(TABLE, 10_000, PROMPTS, is_cached=CACHED.get, encoding=encoding, gflops=1e9)
    assert {one.seconds for one in made.models[:3]} == {10_000 / 300 / (os.cpu_count() or 1)}
    assert made.models[0].disk_bytes == 2 * 10_000 * 512 * 4


def test_a_plan_needs_a_number_of_images() -> None:
    table = zs.published_table("cifar10", models=["none"], extra=["demo"])
    assert zs.plan_reproduction(None, table).n_images == 10_000
    with pytest.raises(SourceError, match="does not give a number of images"):
        zs.plan_reproduction(None, Table("own", "cifar10", ("raw",), table.models, {}, 0.3))
