"""The rows of files with texts: lines, CSV, JSON, JSON lines and Parquet, and the published splits of data sets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.text_files import lines_of, separator_of, text_of, tidy
from zsretrieve.domain.wording import one_line
from zsretrieve.images.addresses import MEMBER, bare
from zsretrieve.images.archives import files
from zsretrieve.texts.records import Columns, Row, Wanted

Rows = tuple[Columns | None, Iterator[Row | Skipped]]

_BATCH_ROWS = 8192
# A cell of a table may be a long text; a table of one column has nothing that separates cells.
_LONGEST_CELL, _NOTHING = 1 << 24, "\x1f"
_QUOTES = "A cell that begins with a quote must end with it."


def rows_of(name: str, wanted: Wanted) -> Rows:
    """The columns of a file and its rows, by the suffix of its name; a file without columns is lines.

    Raises
    ------
    SourceError
        If it cannot be read, or ``Columns.among`` refuses it.
    UsageError
        As ``Columns.among``.
    """
    suffix = bare(name).rpartition(".")[2].lower()
    if suffix == "parquet":
        return _parquet(name, wanted)
    with files.stream(name) as raw:
        return text_rows(raw.read(), name, wanted, suffix)


def text_rows(data: bytes, name: str, wanted: Wanted, suffix: str = "txt") -> Rows:
    """The same of the bytes of a file that is text, by the suffix that it has."""
    text = text_of(data, Path(name), SourceError, escape=True)
    of_suffix: dict[str, Callable[[str, str, Wanted], Rows]] = {
        "csv": _table,
        "tsv": _table,
        "json": _json,
        "jsonl": _json_lines,
        "ndjson": _json_lines,
    }
    return of_suffix.get(suffix, _lines)(text, name, wanted)


def _lines(text: str, name: str, wanted: Wanted) -> Rows:
    if wanted != Wanted():
        given = "column" if wanted.text else "image_column" if wanted.image else "split"
        raise SourceError(f"'{name}' is read line by line, so it has no columns", hint=f"Leave out `{given}`.")
    return None, (Row(str(number), line) for number, line in enumerate(lines_of(text), start=1))


def _table(text: str, name: str, wanted: Wanted) -> Rows:
    first = text.lstrip().split("\n", 1)[0]
    separator = separator_of(first)
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator if separator in first else _NOTHING,
        skipinitialspace=True,
        strict=True,
    )
    try:
        header = next((row for row in reader if any(map(str.strip, row))), None)
    except csv.Error as error:
        raise SourceError(f"the first row of '{name}' cannot be read: {one_line(error)}", hint=_QUOTES) from error
    if header is None:
        raise SourceError(f"'{name}' is empty", hint="Its first row must name the columns.")
    names = [tidy(cell) for cell in header]

    def rows() -> Iterator[Row | Skipped]:
        # As spreadsheets number them: the first row names the columns.
        number = 1
        while True:
            number += 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield Skipped(str(number), one_line(error))
                continue
            if cells is None:
                return
            if not cells:  # a blank line
                continue
            if len(cells) > len(names):
                yield Skipped(str(number), f"{len(cells)} cells, and the header has {len(names)}: quote the text")
            else:
                yield Row(str(number), dict(zip(names, cells, strict=False)))

    return Columns.among(names, wanted, name), rows()


def _json_lines(text: str, name: str, wanted: Wanted) -> Rows:
    found: list[tuple[str, Any] | Skipped] = []
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            try:
                found.append((str(number), json.loads(line)))
            except (ValueError, RecursionError):
                found.append(Skipped(str(number), "not valid JSON"))
    return _of_values(found, name, wanted)


def _json(text: str, name: str, wanted: Wanted) -> Rows:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"'{name}' is not valid JSON: {one_line(error)}", hint="Check the file.") from error
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        content = _of_annotations(content, name)
    elif isinstance(content, dict):
        lists = {key: one for key, one in content.items() if isinstance(one, list)}
        content = lists.get("images") or (next(iter(lists.values())) if len(lists) == 1 else None)
    if not isinstance(content, list):
        raise SourceError(
            f"'{name}' holds neither one list of texts, nor images with sentences, nor annotations",
            hint="docs/texts.md lists the forms.",
        )
    return _of_values([(str(number), value) for number, value in enumerate(content, start=1)], name, wanted)


def _of_annotations(content: dict[str, Any], name: str) -> list[Any]:
    """COCO's own form: annotations with a caption and the ID of an image, and images with an ID and a file name."""
    annotations, images = content["annotations"], content.get("images")
    if not any(isinstance(one, dict) and "caption" in one for one in annotations):
        raise SourceError(f"the annotations of '{name}' have no captions", hint="Give captions_val2017.json or so.")
    named = {
        one.get("id"): one.get("file_name")
        for one in (images if isinstance(images, list) else ())
        if isinstance(one, dict) and isinstance(one.get("id"), int | str)
    }
    return [
        {"caption": one.get("caption"), "image": named.get(number)}
        if isinstance(one, dict) and isinstance(number := one.get("image_id"), int | str | None)
        else one
        for one in annotations
    ]


def _of_values(found: list[tuple[str, Any] | Skipped], name: str, wanted: Wanted) -> Rows:
    """Rows of JSON: objects, or texts alone."""
    values = [one[1] for one in found if not isinstance(one, Skipped)]
    keys = list(dict.fromkeys(str(key) for value in values if isinstance(value, dict) for key in value))
    columns = Columns.among(keys, wanted, name) if keys else None
    if columns is None and wanted != Wanted():
        raise SourceError(f"'{name}' holds no objects, so it has no columns", hint="Leave out `column` and `split`.")

    def rows() -> Iterator[Row | Skipped]:
        for one in found:
            if isinstance(one, Skipped):
                yield one
            elif isinstance(one[1], dict | str):
                yield Row(*one)
            else:
                yield Skipped(one[0], f"neither a text nor an object, but {type(one[1]).__name__}")

    return columns, rows()


def _parquet(name: str, wanted: Wanted) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    damage = (pa.ArrowException, OSError, ValueError)
    raw = files.stream(name)
    try:
        opened = pq.ParquetFile(raw, pre_buffer=False)
        schema = opened.schema_arrow
        columns = Columns.among(schema.names, wanted, name)
    except BaseException as error:
        raw.close()
        if isinstance(error, damage):
            raise SourceError(
                f"'{name}' is not a Parquet file, or is cut short: {one_line(error)}", hint="Check the file."
            ) from error
        raise
    # An image in the row itself has the address that it has as a source of images.
    inside = [one for one in columns.images if not _is_text(schema.field(one).type)]
    read = [one for one in (columns.text, *columns.images, columns.split) if one is not None and one not in inside]

    def rows() -> Iterator[Row | Skipped]:
        number = 0
        try:
            with raw:
                for batch in opened.iter_batches(batch_size=_BATCH_ROWS, columns=read, use_threads=False):
                    for fields in batch.to_pylist():
                        yield Row(str(number), {**fields, **dict.fromkeys(inside, f"{name}{MEMBER}{number}")})
                        number += 1
        except damage as error:
            raise SourceError(f"'{name}' is damaged: {one_line(error)}", hint="Check the file.") from error

    return columns, rows()


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))
