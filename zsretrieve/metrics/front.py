"""Which of several choices are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence

from zsretrieve.errors import ShapeError


def front(costs: Sequence[float | None], values: Sequence[float | None]) -> list[bool]:
    """Whether each choice is on the front of lowest cost and highest value (the Pareto front).

    A choice is on it if every other one costs more or is worth less, or is equal in both: so equal choices are on it
    together or not at all.

    Parameters
    ----------
    costs, values : sequence of float
        None where unknown; such a choice is not on the front and keeps no other off it.

    Raises
    ------
    ShapeError
        If there are not as many costs as values.
    """
    if len(costs) != len(values):
        raise ShapeError(f"{len(costs)} costs and {len(values)} values do not fit together")
    known = sorted(
        (cost, -value, place)
        for place, (cost, value) in enumerate(zip(costs, values, strict=True))
        if cost is not None and value is not None
    )
    on_it = [False] * len(costs)
    last: tuple[float, float] | None = None
    for cost, loss, place in known:
        # The first of equal cost is the best of them, and must be better than all that cost less.
        if last is None or loss < last[1] or (cost, loss) == last:
            on_it[place] = True
            last = (cost, loss)
    return on_it
