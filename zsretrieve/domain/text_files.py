"""Text files that other programs wrote: their encoding, their lines, and the tables, JSON and Python in them."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import itertools
import json
import re
import tokenize
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import ZsRetrieveError
from zsretrieve.domain.names import seen
from zsretrieve.domain.wording import one_line

_BOMS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32-LE"),
    (codecs.BOM_UTF32_BE, "UTF-32-BE"),
    (codecs.BOM_UTF16_LE, "UTF-16-LE"),
    (codecs.BOM_UTF16_BE, "UTF-16-BE"),
)
_BINARY = {b"PK\x03\x04": "a zip file or workbook", b"\x1f\x8b": "a gzip file", b"PAR1": "a Parquet file",
           b"\x93NUMPY": "a NumPy array", b"%PDF": "a PDF file"}  # fmt: skip
_LOOKED_AT = 4096
_DELIMITERS = "\t;,|"
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
_ASSIGNED = re.compile(r"\s*[A-Za-z_]\w*\s*=\s*(?=[\[({])")


@dataclass(frozen=True)
class Pairs:
    """An object of JSON or Python as written: two classes may share a name, and a dict would lose one of them."""

    pairs: list[tuple[str, Any]]


def read_text(path: Path, error: type[ZsRetrieveError]) -> str:
    """A text file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark. Raises ``error`` for any other."""
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise error(f"'{path}' cannot be read: {one_line(failure)}", hint="Check the path.") from failure
    return text_of(data, path, error)


def text_of(data: bytes, path: Path, error: type[ZsRetrieveError], *, escape: bool = False) -> str:
    """The text in the bytes of a file, as ``read_text``; with ``escape`` bytes that are not UTF-8 become surrogates."""
    known = next((kind for magic, kind in _BINARY.items() if data.startswith(magic)), None)
    encoding, start = encoding_of(data)
    if known is not None or (encoding == "UTF-8" and b"\0" in data):
        raise error(
            f"'{path}' cannot be read: it is {known or 'a binary file'}, not text",
            hint="Give a text file; save a workbook as CSV.",
        )
    try:
        return data[start:].decode(encoding, "surrogateescape" if escape and encoding == "UTF-8" else "strict")
    except UnicodeDecodeError as failure:
        raise error(_not_decoded(path, encoding, data, start + failure.start), hint=_convert(path)) from failure


def entries_of(data: bytes, name: str, error: type[ZsRetrieveError], *, null: bool = False) -> list[str]:
    """The entries of a list: lines, or what is ended by NUL as ``find -print0`` writes it, always with ``null``.

    Entries are not tidied, since they may be file names; bytes that are not UTF-8 are kept as in these. Raises
    ``error`` for a text that says it is in another encoding, and is not.
    """
    encoding, start = encoding_of(data)
    try:
        text = data[start:].decode(encoding, "surrogateescape" if encoding == "UTF-8" else "strict")
    except UnicodeDecodeError as failure:
        raise error(
            f"the list '{name}' cannot be read: it is not valid {encoding}", hint="Save it as UTF-8."
        ) from failure
    end = "\0" if null or text.endswith("\0") or ("\0" in text and "\n" not in text) else "\n"
    entries = text.split(end)
    if not entries[-1]:
        entries.pop()
    return entries if end == "\0" else [entry.removesuffix("\r") for entry in entries]


def encoding_of(data: bytes) -> tuple[str, int]:
    """The encoding of a text, and the length of its byte order mark."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding, len(mark)
    # Most texts hold spaces, line ends or ASCII letters, whose other byte is zero in UTF-16.
    even, odd = data[:_LOOKED_AT:2], data[1:_LOOKED_AT:2]
    for encoding, zeros, others in (("UTF-16-LE", odd, even), ("UTF-16-BE", even, odd)):
        if 2 * zeros.count(0) > len(zeros) and not others.count(0):
            return encoding, 0
    return "UTF-8", 0


def lines_of(text: str) -> list[str]:
    """The lines of a text, whatever ends them on the system that wrote it, without empty ones at the end."""
    text = text.replace("\r\n", "\n")
    return (text if "\n" in text else text.replace("\r", "\n")).rstrip().split("\n")


def tidy(entry: str) -> str:
    """An entry without what cannot be seen: characters without width, spaces around it, spaces that do not break."""
    return seen(entry).replace("\N{NO-BREAK SPACE}", " ").strip()


def table_of(text: str) -> list[list[str]]:
    """The rows of a text with separated values, tidied, without empty rows; one cell a row if nothing separates.

    The separator is what Excel's line ``sep=;`` says, or the first of tab, semicolon, comma and bar in the first line.
    """
    lines = lines_of(text)
    said = _SEPARATOR_LINE.fullmatch(tidy(lines[0]))
    if said:
        lines = lines[1:]
    first = next((line for line in lines if line.strip()), "")
    delimiter = said[1] if said else separator_of(first)
    try:
        read = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        rows = [[tidy(cell) for cell in row] for row in read]
    except csv.Error:  # a cell of more than 128 KB, or a quote that is none
        return [[tidy(line)] for line in lines if tidy(line)]
    return [row for row in rows if any(row)]


def separator_of(header: str) -> str:
    """The first of tab, semicolon, comma and bar in the first line of a table; a comma if there is none."""
    return next((one for one in _DELIMITERS if one in header), ",")


def value_of(text: str) -> Any:
    """What a text of JSON, JSON lines or Python says, of lists, texts, numbers and ``Pairs``; None for any other text.

    Python is parsed, never run: literals, with or without a name before them; lines that were copied out of a list;
    and the functions ``lambda c: f'a photo of a {c}.'`` that published templates are, which become texts with ``{}``.
    """
    text = text.strip().lstrip("\ufeff")
    if not text or {*text.split()} == {"{}"}:  # a template, not an empty object
        return None
    for parse in (_json, _json_lines, _python_lines, _python):
        try:
            with warnings.catch_warnings():
                # Python warns of odd escapes and numbers in what may not be Python at all.
                warnings.simplefilter("ignore")
                return parse(text)
        except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError):
            continue
    return None


def _json(text: str) -> Any:
    if text[0] not in "[{":
        raise ValueError("a number or a text is a line")
    return json.loads(text, object_pairs_hook=Pairs)


def _json_lines(text: str) -> list[Any]:
    lines = [line for line in lines_of(text) if line.strip()]
    if any(line.lstrip()[0] not in '{["' for line in lines):
        raise ValueError("other lines")
    return [json.loads(line, object_pairs_hook=Pairs) for line in lines]


def _python_lines(text: str) -> list[str]:
    """Quoted texts on one line, or each on its own."""
    lines = [_texts_in(line.strip().rstrip(",")) for line in lines_of(text) if line.strip()]
    if len(lines) > 1 < max(map(len, lines)):
        raise ValueError("a table")
    return [value for line in lines for value in line]


def _texts_in(line: str) -> list[str]:
    node = ast.parse(f"({line},)", mode="eval").body
    texts = [_of_python(part) for part in node.elts] if isinstance(node, ast.Tuple) else []
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(line).readline)]
    if any(kind == other == tokenize.STRING for kind, other in itertools.pairwise(kinds)):
        raise ValueError("two texts beside each other, which Python joins")
    if not texts or not all(isinstance(value, str) for value in texts):
        raise ValueError("not texts")
    return texts


def _python(text: str) -> Any:
    source = _ASSIGNED.sub("", text, count=1).rstrip(";,")
    if not source.startswith(("[", "(", "{")):
        raise ValueError("lines")
    value = _of_python(ast.parse(source, mode="eval").body)
    return value if isinstance(value, list | Pairs) else [value]  # one in parentheses


def _of_python(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return [_of_python(part) for part in parts]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return Pairs(
                [(str(_of_python(key)), _of_python(value)) for key, value in zip(keys, values, strict=True) if key]
            )
        case ast.Lambda(body=body):
            return _of_python(body)
        case ast.JoinedStr(values=parts):
            return "".join("{}" if isinstance(part, ast.FormattedValue) else _of_python(part) for part in parts)
        case _:
            raise ValueError("not a literal")


def _not_decoded(path: Path, encoding: str, data: bytes, at: int) -> str:
    where = f"byte 0x{data[at]:02x} in line {data[:at].count(10) + 1}" if at < len(data) else "it is cut short"
    if encoding != "UTF-8":
        return f"'{path}' cannot be read: it is not valid {encoding} ({where})"
    line = data[data.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0]
    shown = " ".join(line.decode("cp1252", "replace").split())[:60]
    return f"'{path}' cannot be read: it is not UTF-8 ({where}); in Windows-1252 that line is '{shown}'"


def _convert(path: Path) -> str:
    return f"Save it as UTF-8. From Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > utf8.txt"


def fields_of(rows: Sequence[Any]) -> list[dict[str, Any]] | None:
    """The rows of a list of objects, with the names of their fields in lower case; None if they are not objects."""
    if not rows or not all(isinstance(row, Pairs) for row in rows):
        return None
    return [{tidy(name).lower(): value for name, value in row.pairs} for row in rows]
