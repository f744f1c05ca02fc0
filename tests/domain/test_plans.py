"""Plans: what fits into how many machines, and what it costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from zsretrieve.domain import kind_costs as costs
from zsretrieve.domain import plans
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kind_names import parsed
from zsretrieve.domain.kind_recall import Family, Rung
from zsretrieve.domain.kind_sizes import index_bytes
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.plans import ITEM_BYTES, Plan, Wish, plan
from zsretrieve.domain.rates import USUAL, Rates, family

# Round figures, so that sums can be made by hand.
ROUND = Rates(
    source="a test",
    cores=2,
    products=1e11,
    encoded={"SQ16": 1e8, "SQ8": 1e8, "PQ": 1e8, "RaBitQ": 1e8},
    scanned={"Flat": 1e10, "centroids": 1e10, "SQ16": 1e10, "SQ8": 1e10, "PQ": 1e10, "RaBitQ": 1e10},
    walked=1e6,
    compared=1e6,
    read=1e3,
    written=1e9,
)
HUGE = Wish(5 * 10**9, 768, 0.95, 256 * 10**9)


def of(wish: Wish, kind: str) -> dict[str, object]:
    """The row of a kind."""
    return next(one for one in plan(wish, ROUND).kinds if one.kind == kind).to_dict()


def test_five_billion_do_not_fit_one_machine_of_256_gb() -> None:
    found = plan(HUGE, USUAL)
    assert all(kind.machines > 1 for kind in found.kinds if kind.reaches)
    first = found.kinds[0]
    assert found.answer.startswith("Not on one machine: 256 GB are 51.2 bytes for each of 5,000,000,000 vectors")
    assert 1 < first.index_bytes / 256e9 < first.machines
    alone = math.ceil(first.index_bytes / 256e9)
    assert f"{first.machines} machines with {first.kind} would do; its index alone would fill {alone}." in found.answer


@pytest.mark.parametrize("wish", [HUGE, Wish(10**7, 512, 0.95, 8 * 10**9), Wish(10**6, 128, 0.9, 10**8)])
def test_every_kind_fits_its_machines_and_no_fewer(wish: Wish) -> None:
    memory = wish.memory or 0
    for kind in plan(wish, USUAL).kinds:
        assert kind.memory_bytes <= memory
        assert kind.machines * kind.shard_vectors >= wish.vectors
        held = index_bytes(kind.kind, wish.dim, kind.shard_vectors)
        assert kind.memory_bytes == held + ITEM_BYTES * kind.shard_vectors
        assert kind.index_bytes == kind.machines * held
        # Per vector the overheads shrink with the shards, and steps of the lists are a few percent.
        assert kind.machines <= math.ceil(1.05 * kind.machines * kind.memory_bytes / memory) + 1
        assert parsed(kind.kind, wish.dim).least <= kind.shard_vectors


def test_those_that_reach_the_recall_come_first_with_the_fewest_machines() -> None:
    found = plan(replace(HUGE, recall=0.97), USUAL).kinds
    keys = [(not kind.reaches, kind.machines, kind.expected_ms) for kind in found]
    assert keys == sorted(keys)
    assert {kind.reaches for kind in found} == {True, False}
    assert all(kind.reaches == (kind.texts >= 0.975 and kind.images >= 0.975) for kind in found)


def test_only_flat_finds_all() -> None:
    found = plan(Wish(10**6, 512, 1.0), USUAL)
    assert [kind.kind for kind in found.kinds if kind.reaches] == ["Flat"]
    assert found.answer.startswith("Take Flat: one machine holds 1,000,000 vectors of 512 dimensions in 2.29 GB")


def test_if_one_machine_holds_only_kinds_that_find_less_it_says_which() -> None:
    wish = Wish(10**6, 512, 1.0, 4 * 10**8)
    assert "One machine holds IVF2048,PQ" in plan(wish, USUAL).answer
    assert ", which finds 0.9" in plan(wish, USUAL).answer


def test_small_or_odd_vectors_have_fewer_kinds() -> None:
    assert not [kind for kind in plan(Wish(1000, 512), USUAL).kinds if "IVF" in kind.kind]
    assert not [kind for kind in plan(Wish(10**6, 77), USUAL).kinds if "PQ" in kind.kind]
    assert [kind for kind in plan(Wish(10**6, 78), USUAL).kinds if "PQ39x4fsr" in kind.kind]


@pytest.mark.parametrize(("recall", "memory"), [(0.95, 100), (1.0, 2000)])
def test_a_machine_that_holds_nothing_is_refused(recall: float, memory: int) -> None:
    with pytest.raises(UsageError, match=f"no kind that finds {recall:g} holds even one vector of 512 dimensions"):
        plan(Wish(10**6, 512, recall, memory), USUAL)


def test_from_the_disk_more_lists_are_cheaper_than_more_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    rungs = (Rung(0.99, 0.99, 400, 2), Rung(0.99, 0.99, 100, 4), Rung(0.979, 0.999, 10, 1), Rung(0.999, 0.979, 10, 1))
    monkeypatch.setattr(plans, "FAMILIES", {"IVF*,PQD/2x4fsr": Family(3000, rungs)})
    wish = Wish(10**7, 512, 0.975)
    in_memory, from_disk = (plan(one, ROUND).kinds[0] for one in (wish, replace(wish, memory=5 * 10**9)))
    assert (in_memory.is_in_memory, in_memory.depth, in_memory.probes) == (True, 400, 182)
    assert (from_disk.is_in_memory, from_disk.depth, from_disk.probes) == (False, 100, 363)
    assert in_memory.measured_on == 3000


@pytest.mark.parametrize(
    ("texts", "images", "enough"), [(0.98, 0.98, True), (0.979, 0.99, False), (0.99, 0.979, False)]
)
def test_a_kind_reaches_a_recall_if_both_queries_find_more_by_a_margin(
    texts: float, images: float, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = plans.FAMILIES["Flat"]
    monkeypatch.setattr(plans, "FAMILIES", {"Flat": flat, "SQ8": Family(3000, (Rung(texts, images, 40),))})
    assert of(Wish(10**6, 512, 0.975), "SQ8")["reaches"] is enough


def test_hours_of_encoding_are_shared_by_the_machines() -> None:
    wish = replace(HUGE, images=100.0)
    for kind in plan(wish, USUAL).kinds:
        assert kind.encode_hours == pytest.approx(5e9 / 100 / 3600 / kind.machines)
    assert plan(HUGE, USUAL).kinds[0].encode_hours is None


def test_vectors_that_do_not_fit_beside_the_index_are_read_from_the_disk() -> None:
    # 1,000,000 x 512: 2.048 GB of vectors, 0.24 GB for paths and the like, 0.512 GB of SQ8.
    for memory, fits in ((2_810_000_000, True), (2_790_000_000, False)):
        row = of(Wish(10**6, 512, 0.95, memory), "SQ8")
        assert row["is_in_memory"] is fits
    assert of(Wish(10**6, 512), "SQ8")["is_in_memory"]


@pytest.mark.parametrize(
    ("kind", "effort", "expected"),
    [
        ("Flat", Effort(0), 1e6 * 2048 / 1e10),
        ("SQ8", Effort(40), 1e6 * 512 / 1e10 + 40 / 1e6),
        ("IVF2048,SQ8", Effort(40, 64), 2048 * 2048 / 1e10 + 1.1 * 1e6 * 64 / 2048 * 512 / 1e10 + 40 / 1e6),
        ("IVF2048,PQ128x4fsr", Effort(400, 2048), 2048 * 2048 / 1e10 + 1e6 * 64 / 1e10 + 400 / 1e6),
        ("HNSW32", Effort(100, ef=100), 13.8 * 100**0.61 * 1e6**0.16 / 1e6 + 100 / 1e6),
        (
            "IVF2048_HNSW32,SQ8",
            Effort(40, 64),
            13.8 * 64**0.61 * 2048**0.16 / 1e6 + 1.1 * 1e6 * 64 / 2048 * 512 / 1e10 + 40 / 1e6,
        ),
    ],
)
def test_the_seconds_of_a_query_are_those_of_the_formula(kind: str, effort: Effort, expected: float) -> None:
    expected += 7e-5
    assert costs.query_seconds(kind, 512, 10**6, effort, ROUND) == pytest.approx(expected)
    more = effort.depth * (1 / 1e3 - 1 / 1e6)
    found = costs.query_seconds(kind, 512, 10**6, effort, ROUND, from_disk=True)
    assert found == pytest.approx(expected + more)


def test_the_seconds_of_making_are_those_of_the_formula() -> None:
    assert costs.sample_of("IVF2048,SQ8", 512, 10**6) == 204_800
    assert costs.sample_of("IVF64,SQ8", 512, 10**6) == 65_536
    assert costs.sample_of("IVF64,SQ8", 512, 5000) == 5000
    assert costs.sample_of("SQ8", 512, 10**6) == 0
    training = 10 * 204_800 * 2048 * 2 * 512 / 1e11
    assert costs.training_seconds("IVF2048,SQ8", 512, 10**6, ROUND) == pytest.approx(training)
    size = index_bytes("IVF2048,SQ8", 512, 10**6)
    made = training + 1e6 * 2048 * 2 * 512 / 1e11 + 1e6 * 512 / 1e8 + size / 1e9
    assert costs.making_seconds("IVF2048,SQ8", 512, 10**6, ROUND) == pytest.approx(made)
    by_graph = made - 1e6 * 2048 * 2 * 512 / 1e11 + 1e6 * 13.8 * 16**0.61 * 2048**0.16 / 1e6 / 2
    graph = (index_bytes("IVF2048_HNSW32,SQ8", 512, 10**6) - size) / 1e9
    assert costs.making_seconds("IVF2048_HNSW32,SQ8", 512, 10**6, ROUND) == pytest.approx(by_graph + graph)
    walked = 1.4 * 1e6 * 13.8 * 40**0.61 * 1e6**0.16 / 1.16 / 1e6 / 2 + index_bytes("HNSW32", 512, 10**6) / 1e9
    assert costs.making_seconds("HNSW32", 512, 10**6, ROUND) == pytest.approx(walked)
    without_lists = 1e6 * 512 / 1e8 + 8 * 1e6 * 512 / 1e10 + index_bytes("SQ8", 512, 10**6) / 1e9
    assert costs.making_seconds("SQ8", 512, 10**6, ROUND) == pytest.approx(without_lists)
    coded = 1e6 * 512 / 1e8 + (index_bytes("HNSW32,SQ8", 512, 10**6) - index_bytes("HNSW32", 512, 10**6)) / 1e9
    assert costs.making_seconds("HNSW32,SQ8", 512, 10**6, ROUND) == pytest.approx(walked + coded)
    slower = replace(ROUND, encoded={**ROUND.encoded, "SQ8 without lists": 5e7})
    assert costs.making_seconds("SQ8", 512, 10**6, slower) == pytest.approx(without_lists + 1e6 * 512 / 1e8)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("SQfp16", "SQ16"), ("SQ8", "SQ8"), ("SQ4", "SQ8"), ("IVF9,PQ8x4fsr", "PQ"), ("HNSW8", "Flat")],
)
def test_families(kind: str, expected: str) -> None:
    assert family(parsed(kind, 64).parts) == expected


def test_so_few_that_auto_stays_exact_are_said() -> None:
    said = " The kind auto compares up to 200,000 one by one (Flat), which finds all and takes "
    assert said in plan(Wish(10**5, 512), USUAL).answer
    assert said not in plan(Wish(10**6, 512), USUAL).answer


def test_large_numbers_have_no_exponent() -> None:
    slow = replace(ROUND, compared=1.0, read=0.5, scanned=dict.fromkeys(ROUND.scanned, 1e6))
    for wish in (Wish(10**6, 512), Wish(999_999_999, 512), Wish(10**12, 512, 0.95, 10**9)):
        assert "e+" not in plan(wish, slow).answer


def test_json_holds_every_field() -> None:
    found = plan(HUGE, USUAL)
    content = found.to_dict()
    assert isinstance(found, Plan)
    assert content["kinds"][0]["kind"] == found.kinds[0].kind
    assert content["rates"]["scanned"]["PQ"] == USUAL.scanned["PQ"]
