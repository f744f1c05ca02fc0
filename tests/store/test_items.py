"""The table of items is a sequence of items, whether it makes them one by one or all at once."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.records import Item
from zsretrieve.store import items as item_table
from zsretrieve.store.items import Items


def some(count: int, first: int = 0) -> tuple[Item, ...]:
    return tuple(
        Item(
            first + 3 * n, f"a/ü\udcff {n}.png", None if n % 3 else f"label {n}", n, 2**31 - 1, 2**40 + n, -n, "f" * 64
        )
        for n in range(count)
    )


def stored(folder: Path, items: tuple[Item, ...]) -> Items:
    item_table.write(folder / "items.parquet", items)
    return item_table.read(folder / "items.parquet")


@pytest.mark.parametrize("count", [0, 1, 7, 600])
@pytest.mark.parametrize("ordered", [False, True])
def test_it_is_the_tuple_of_its_items(tmp_path: Path, count: int, ordered: bool) -> None:
    written = some(count)
    order = np.array([row for row in range(count) if row % 2], dtype=np.int64)[::-1]
    expected = tuple(written[row] for row in order) if ordered else written

    def fresh() -> Items:
        read = stored(tmp_path, written)
        return Items.joined([read], order) if ordered else read

    assert len(fresh()) == len(expected)
    assert bool(fresh()) is bool(expected)
    assert fresh().ids.tolist() == item_table.ids_of(expected).tolist() == [item.id for item in expected]
    assert list(fresh()) == list(reversed(list(reversed(fresh())))) == list(expected)
    assert fresh() == expected
    assert expected == fresh()
    assert fresh() == fresh()
    assert fresh() != (*expected, *some(1))
    for _ in range(2):
        read = fresh()
        for piece in (
            slice(None),
            slice(2, 5),
            slice(5, 2),
            slice(-3, None),
            slice(None, None, 2),
            slice(None, None, -1),
        ):
            assert read[piece] == expected[piece]
        for row in [0, -1, 5, np.int64(2)]:
            if -len(expected) <= row < len(expected):
                assert read[row] == expected[row]
            else:
                with pytest.raises(IndexError):
                    read[row]


def test_many_single_questions_are_answered_alike(tmp_path: Path) -> None:
    written = some(2000)
    read = stored(tmp_path, written)
    rng = random.Random(3)
    for row in rng.choices(range(2000), k=1000):
        assert read[row] == written[row]


def test_several_tables_are_joined_in_any_order(tmp_path: Path) -> None:
    parts = [some(5), some(0), some(4, first=1), some(3, first=2)]
    read = [stored(tmp_path, part) for part in parts]
    every = [item for part in parts for item in part]
    order = np.random.default_rng(0).permutation(len(every))[:9]
    joined = Items.joined(read, order)
    assert joined == tuple(every[row] for row in order)
    again = Items.joined([joined, read[0]], np.arange(len(joined) + 5)[::-1])
    assert again == tuple(reversed([*joined, *parts[0]]))
    assert Items.joined([], np.empty(0, dtype=np.int64)) == ()


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "items.parquet")
    with pytest.raises(IntegrityError, match="other columns"):
        item_table.read(tmp_path / "items.parquet")
