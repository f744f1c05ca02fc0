"""A plan as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.domain.byte_sizes import shown_bytes
from zsretrieve.domain.kind_recall import MARGIN, reaches
from zsretrieve.domain.wording import rounded_reaches, three_digits

if TYPE_CHECKING:
    from zsretrieve.domain.plans import Plan, PlannedKind

_HOUR, _DAY = 3600.0, 86400.0
_SIZES = ("texts", "images", "bytes\neach", "memory", "machines", "vectors\non each")
_TIMES = ("looks at", "sample", "encode", "build", "ms", "ms from\ndisk")


def show(plan: Plan) -> None:
    """Print what each kind takes, and what to choose: in two tables, since one would be wider than a terminal."""
    _print(plan, f"{plan.vectors:,} vectors of {plan.dim:,} dimensions", _SIZES, _sizes)
    _print(plan, "Time", _TIMES, _times)
    for line in _legend(plan, has_hours=any(kind.encode_hours is not None for kind in plan.kinds)):
        output.out().print(line)
    output.say(plan.answer)


def _print(
    plan: Plan, title: str, columns: tuple[str, ...], cells: Callable[[PlannedKind, float], tuple[str, ...]]
) -> None:
    numbers = [column for column in columns if column != "looks at"]
    table = output.table("kind", *columns, right=numbers, whole=("kind",))
    for column in table.columns:
        column.max_width = 7 if column.header in ("texts", "images") else None  # "reaches" above what it is
    for kind in plan.kinds:
        table.add_row(*(output.cell(text) for text in (kind.kind, *cells(kind, plan.recall))))
    output.show(table, title)


def _sizes(kind: PlannedKind, wanted: float) -> tuple[str, ...]:
    return (
        *(f"{found:.3f}" if reaches(found, wanted) else f"reaches {found:.3f}" for found in (kind.texts, kind.images)),
        f"{kind.bytes_per_vector:.0f}",
        shown_bytes(kind.memory_bytes),
        f"{kind.machines:,}",
        _count(kind.shard_vectors),
    )


def _times(kind: PlannedKind, _: float) -> tuple[str, ...]:
    """A latency in brackets is not to be expected, because the vectors do not fit beside the index, or do."""
    memory, disk = three_digits(kind.latency_ms), three_digits(kind.disk_ms)
    return (
        _looks_at(kind),
        _count(kind.sample) if kind.sample else "",
        "" if kind.encode_hours is None else _time(kind.encode_hours),
        _time(kind.build_hours) if kind.build_hours else "",
        memory if kind.is_in_memory else f"({memory})",
        f"({disk})" if kind.is_in_memory else disk,
    )


def _looks_at(kind: PlannedKind) -> str:
    if kind.ef is not None:
        return f"ef {kind.ef}"
    lists = [] if kind.probes is None else [f"{kind.probes:,} lists"]
    return ", ".join([*lists, *([f"{kind.depth:,}"] if kind.depth else ["all"])])


def _count(count: int) -> str:
    """Large numbers with three digits, so that a row fits the terminal."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if rounded_reaches(count, size):
            return f"{three_digits(count / size)}{unit}"
    return f"{count:,}"


def _time(hours: float) -> str:
    seconds = hours * _HOUR
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{three_digits(hours)} h" if seconds < 3 * _DAY else f"{three_digits(seconds / _DAY)} days"


def _legend(plan: Plan, *, has_hours: bool) -> list[str]:
    read, least = plan.rates.read, min(kind.measured_on for kind in plan.kinds)
    lines = [
        f"texts, images: share of the ten best that a search finds, as measured on {least:,} vectors. To reach "
        f"what is wanted, {MARGIN} more must have been measured.",
        "looks at: lists that are searched, and candidates whose vectors are compared exactly.",
        "memory: of each machine, with what a gallery keeps of its images. build: of all machines at the same time.",
        f"ms from disk: each candidate is a random read; this disk is taken to give {read:,.0f} per second.",
        "In brackets: not to be expected, since the vectors fit beside the index or do not.",
        f"Rates: {plan.rates.source}.",
    ]
    return lines if has_hours else [*lines, "No hours of encoding: give --rate, or --model and --measure."]
