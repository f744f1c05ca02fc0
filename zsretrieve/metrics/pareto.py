"""The Pareto front of choices."""

from __future__ import annotations

from collections.abc import Sequence

from zsretrieve.domain.errors import ShapeError


def pareto_front(costs: Sequence[float | None], values: Sequence[float | None]) -> list[bool]:
    """Whether each choice is on the Pareto front of low cost and high value.

    A choice is on it if every other one costs more, has a lower value, or is equal in both. Equal choices are on it
    together or not at all.

    Parameters
    ----------
    costs, values : sequence of float
        None where unknown; such a choice is not on the Pareto front, and is not compared with the others.

    Raises
    ------
    ShapeError
        If there are more costs than values, or fewer.
    """
    if len(costs) != len(values):
        raise ShapeError(f"{len(costs)} costs and {len(values)} values do not fit together")
    known = sorted(
        (cost, -value, place)
        for place, (cost, value) in enumerate(zip(costs, values, strict=True))
        if cost is not None and value is not None
    )
    on_front = [False] * len(costs)
    last: tuple[float, float] | None = None
    for cost, loss, place in known:
        # The first of equal cost has the highest value, which must beat all cheaper ones.
        if last is None or loss < last[1] or (cost, loss) == last:
            on_front[place] = True
            last = (cost, loss)
    return on_front
