"""The items of a gallery that match a condition in SQL: ``label = 'tench' and width > 500``.

DuckDB evaluates the condition over a table of the items in memory, cut off from files, the network, extensions and
Python's variables. Before that, its own parser shows whether the text is one expression of known columns and of the
functions listed here, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import FilterError, NothingPassesError
from zsretrieve.domain.names import composed
from zsretrieve.domain.records import Item

if TYPE_CHECKING:
    import duckdb

COLUMNS = ("id", "path", "folder", "name", "label", "width", "height", "bytes", "mtime", "digest", "text", "image")

# None of these makes large values of small ones, as repeat and range do, which DuckDB's memory limit does not count.
FUNCTIONS = {
    "texts": (
        "concat", "contains", "ends_with", "instr", "left", "length", "lower", "ltrim", "position",
        "prefix", "regexp_extract", "regexp_full_match", "regexp_matches", "reverse",
        "right", "rtrim", "split_part", "starts_with", "strip_accents", "strpos", "substr", "substring", "suffix",
        "trim", "upper",
    ),
    "numbers": (
        "abs", "ceil", "ceiling", "floor", "greatest", "hash", "least", "mod", "power", "round", "sqrt", "trunc",
    ),
    "times": (
        "ago", "date_diff", "date_part", "date_trunc", "day", "dayofweek", "dayofyear", "epoch", "hour", "isodow",
        "make_date", "make_timestamp", "minute", "month", "now", "quarter", "second", "strftime", "to_days",
        "to_hours", "to_minutes", "to_months", "to_seconds", "to_weeks", "to_years", "today", "week", "year",
    ),
    "choices": ("if", "ifnull", "nullif"),
}  # fmt: skip

# The parser's names of operators and of LIKE, GLOB, SIMILAR TO and COLLATE.
_OPERATORS = frozenset(
    {"+", "-", "*", "/", "//", "%", "^", "**", "&", "|", "<<", ">>", "||", "^@", "~", "!~", "~~", "!~~", "~~*", "!~~*",
     "~~~", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape"}
)  # fmt: skip
_CALLABLE = _OPERATORS.union(*FUNCTIONS.values())
_MATCHING = frozenset({"regexp_extract", "regexp_full_match", "regexp_matches", "~", "!~"})
_MOMENTS = frozenset({"current_date", "current_timestamp", "localtimestamp"})  # functions written like columns
_TYPES = frozenset(
    {"BIGINT", "BOOL", "BOOLEAN", "DATE", "DECIMAL", "DOUBLE", "FLOAT", "INTEGER", "INTERVAL", "NUMERIC", "REAL",
     "SMALLINT", "STRING", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "VARCHAR"}
)  # fmt: skip
_EXPRESSIONS = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
     "OPERATOR", "TYPE"}
)  # fmt: skip
_REFUSED = {"SUBQUERY": "a query of its own", "WINDOW": "a window", "PARAMETER": "a parameter", "STAR": "a star"}

_HINT = f"Columns: {', '.join(COLUMNS)}. Put texts in single quotes: label = 'tench'."
_SHOWN = 100
_LONGEST = 10_000
# A regular expression takes time by its own length times that of the text, and a filter may contain both.
_LONGEST_WITH_PATTERN = 1_000
_MOST_REPEATS = 64
_REPEATS = re.compile(r"\{(\d{1,4})(?:,(\d{0,4}))?\}")
_BASE_MEMORY = 256 << 20
_MEMORY_PER_ITEM = 4 << 10
# DuckDB looks for an interruption between pieces of a table. These are so small that even the slowest filter which the
# checks pass is through with one in a moment.
_PIECE = 128
_AGAIN_S = 0.02
_seconds: ContextVar[float | None] = ContextVar("seconds", default=None)
_decided: ContextVar[Mapping[str, NDArray[np.int64]] | None] = ContextVar("decided", default=None)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End filters of the block that take longer, with a FilterError; for those of strangers."""
    token = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(token)


@contextlib.contextmanager
def decided(rows: Mapping[str, NDArray[np.int64]]) -> Iterator[None]:
    """Take the positions that match a filter from ``rows`` in the block, where they are known already."""
    token = _decided.set(rows)
    try:
        yield
    finally:
        _decided.reset(token)


def selection(items: Sequence[Item], where: str | None) -> NDArray[np.int64] | None:
    """The positions of the items that match, see ``matching``; None without a filter.

    Raises
    ------
    FilterError
        As ``matching`` does; NothingPassesError if nothing matches.
    """
    if where is None:
        return None
    known = _decided.get() or {}
    rows = known[where] if where in known else matching(items, where)
    if not len(rows):
        raise NothingPassesError(
            f"no image of {len(items)} matches the filter: {_visible(where)}",
            hint="Loosen it; comparisons are case-sensitive, except with ilike.",
        )
    return rows


def values_of(items: Sequence[Item], column: str) -> list[Any]:
    """What a column of ``COLUMNS`` holds for each item. Raises FilterError if there is no such column."""
    if column not in COLUMNS:
        raise FilterError(f"there is no column '{column}'", hint=_HINT)
    values: list[Any] = _table(items)[column].to_pylist()
    return values


def matching(items: Sequence[Item], where: str) -> NDArray[np.int64]:
    r"""The positions of the items that match a condition, ascending.

    Parameters
    ----------
    items : sequence of Item
    where : str
        One SQL expression over ``COLUMNS`` that is true, false or null for each item; null does not match. Bytes of
        names that are not UTF-8 are written as ``\udcff``, and accents are composed (NFC), in the columns and in the
        condition.

    Returns
    -------
    int64 of shape (n,), 0 <= n <= len(items)

    Raises
    ------
    FilterError
        If it is not one expression, names an unknown column or function, is not boolean, or fails for an item.
    """
    import duckdb

    condition = _visible(where)
    with (
        duckdb.connect(":memory:", config=_locked_down(len(items))) as connection,
        _ended_in_time(connection, condition),
    ):
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")
        try:
            _check(connection, condition)
            connection.register("items", _pieces(items))
            # As a column, not after WHERE: that shows its type, and for each item in its place whether it is true.
            answers = connection.sql(f"SELECT (\n{condition}\n) AS passes FROM items")
            if str(answers.types[0]) != "BOOLEAN":
                raise FilterError(
                    f"the filter {_quoted(condition)} is {answers.types[0]}, not true or false",
                    hint="Compare it: width > 500.",
                )
            passes = answers.fetchnumpy()["passes"]
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise FilterError(
                f"the filter {_quoted(condition)} fails: {_first_line(str(error))}", hint=_HINT
            ) from error
    return np.flatnonzero(np.ma.filled(passes, False)).astype(np.int64)


@contextlib.contextmanager
def _ended_in_time(connection: duckdb.DuckDBPyConnection, condition: str) -> Iterator[None]:
    """Interrupt what a connection does when the time that is allowed for it is over."""
    import duckdb

    seconds = _seconds.get()
    if seconds is None:
        yield
        return
    is_done = threading.Event()

    def end() -> None:
        over = is_done.wait(seconds)
        while not over:
            connection.interrupt()  # which is lost unless a statement runs just then
            over = is_done.wait(_AGAIN_S)

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise FilterError(
            f"the filter {_quoted(condition)} takes longer than {seconds:g} s, so it was ended", hint="Simplify it."
        ) from error
    finally:
        is_done.set()
        ending.join()  # it must not interrupt a closed connection


def _pieces(items: Sequence[Item]) -> Any:
    table = _table(items)
    if _seconds.get() is None:
        return table
    import pyarrow as pa

    return pa.Table.from_batches(table.to_batches(max_chunksize=_PIECE), table.schema)


def _locked_down(n_items: int) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
        "python_scan_all_frames": "false",
        "memory_limit": f"{_BASE_MEMORY + _MEMORY_PER_ITEM * n_items}B",
        "temp_directory": "",
        "max_temp_directory_size": "0KB",
        # One thread keeps the rows in their order, and a million of them take it less than a second.
        "threads": "1",
    }


def _check(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Raise FilterError unless the condition is one expression of allowed parts."""
    if not condition.strip():
        raise FilterError("the filter is empty", hint=_HINT)
    if len(condition) > _LONGEST:
        raise FilterError(
            f"the filter has {len(condition)} characters, but at most {_LONGEST} are allowed",
            hint="Shorten the filter.",
        )
    # A text that closes one kind of bracket, to continue after it, does not close the other.
    node = _parsed(connection, f"SELECT 1 WHERE (\n{condition}\n)", condition)
    _parsed(connection, f"SELECT [\n{condition}\n]", condition)
    plain = _parsed(connection, "SELECT 1 WHERE (\ntrue\n)", condition)
    where = node.pop("where_clause", None)
    del plain["where_clause"]
    if node != plain or where is None:
        raise FilterError(f"the filter {_quoted(condition)} is more than one expression", hint=_HINT)
    for part in _expressions(where):
        _check_part(part)
        if part.get("function_name", "").lower() in _MATCHING:
            _check_with_pattern(condition)


def _parsed(connection: duckdb.DuckDBPyConnection, statement: str, condition: str) -> dict[str, Any]:
    answer = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()
    try:
        tree = json.loads(answer[0][0])
    except RecursionError as error:
        raise FilterError("the filter is nested too deeply", hint="Use fewer parentheses.") from error
    if tree["error"]:
        # The last character is the bracket that was added to the condition.
        is_at_end = tree.get("position") == str(len(statement.encode()) - 1)
        reason = _first_line(tree.get("error_message", ""))
        if is_at_end:
            reason = "something is missing at its end, or a parenthesis has no partner"
        raise FilterError(f"the filter {_quoted(condition)} cannot be read: {reason}", hint=_HINT)
    if len(tree["statements"]) != 1:
        raise FilterError(f"the filter {_quoted(condition)} is more than one expression", hint=_HINT)
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def _expressions(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "class" in part:
                yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _check_part(part: dict[str, Any]) -> None:
    kind = part["class"]
    if kind not in _EXPRESSIONS:
        what = _REFUSED.get(kind, f"an expression of the kind {kind.lower()}")
        raise FilterError(f"a filter may not hold {what}", hint=_HINT)
    if kind == "FUNCTION" and (part["function_name"].lower() not in _CALLABLE or part["schema"] or part["catalog"]):
        known = _names(name for group in FUNCTIONS.values() for name in group)
        raise FilterError(f"a filter may not use the function '{part['function_name']}'", hint=f"Functions: {known}.")
    if kind == "TYPE":
        nested = any(child["class"] == "TYPE" for child in part["children"])
        if nested or part["type_name"].upper() not in _TYPES or part["schema"] or part["catalog"]:
            raise FilterError(f"a filter may not use the type '{part['type_name']}'", hint=f"Types: {_names(_TYPES)}.")
    if kind == "COLUMN_REF":
        name = ".".join(part["column_names"])
        if name.lower() not in COLUMNS and name.lower() not in _MOMENTS:
            raise FilterError(f"there is no column '{name}' to filter by", hint=_HINT)


def _check_with_pattern(condition: str) -> None:
    """Raise FilterError if a filter with a regular expression in it could take long."""
    if len(condition) > _LONGEST_WITH_PATTERN:
        raise FilterError(
            f"the filter has {len(condition)} characters, but with a regular expression in it at most "
            f"{_LONGEST_WITH_PATTERN} are allowed",
            hint="Shorten the filter, or use like and contains.",
        )
    # A brace and its number may be joined only when the filter is evaluated.
    repeats = [max(1, int(most or least)) for least, most in _REPEATS.findall(condition)]
    if len(repeats) != condition.count("{") or math.prod(repeats) > _MOST_REPEATS:
        raise FilterError(
            f"the repeats in braces of a regular expression may multiply to {_MOST_REPEATS} at most",
            hint="Use + and * instead.",
        )


def _table(items: Sequence[Item]) -> Any:
    import pyarrow as pa

    paths = [_visible(item.path) for item in items]
    columns = {
        "id": pa.array([item.id for item in items], pa.int64()),
        "path": pa.array(paths, pa.string()),
        "folder": pa.array([os.path.dirname(path) for path in paths], pa.string()),
        "name": pa.array([os.path.basename(path) for path in paths], pa.string()),
        "label": pa.array([None if item.label is None else _visible(item.label) for item in items], pa.string()),
        "width": pa.array([item.width for item in items], pa.int32()),
        "height": pa.array([item.height for item in items], pa.int32()),
        "bytes": pa.array([item.bytes for item in items], pa.int64()),
        "mtime": pa.array([item.mtime_ns // 1000 for item in items], pa.timestamp("us")),
        "digest": pa.array([item.digest or None for item in items], pa.string()),
        "text": pa.array([None if item.text is None else composed(item.text) for item in items], pa.string()),
        "image": pa.array([None if item.image is None else _visible(item.image) for item in items], pa.string()),
    }
    return pa.table({name: columns[name] for name in COLUMNS})


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _visible(text: str) -> str:
    return composed(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _quoted(condition: str) -> str:
    text = " ".join(condition.split())
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}...'"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
