"""Texts as a source, whatever file they are in."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.images import opening
from zsretrieve.images.addresses import MEMBER, PIPED, Kind, is_url, kind_of
from zsretrieve.images.archives import files
from zsretrieve.images.sources import Source, SourceFile, Text
from zsretrieve.images.sources.braces import in_braces
from zsretrieve.texts import files as text_files
from zsretrieve.texts import shards
from zsretrieve.texts.records import Columns, Row, Wanted, texts_of

STDIN = "-"


def of_lines(data: bytes, wanted: Wanted) -> Source:
    """The texts of standard input, one per line. Raises as ``open_texts``."""
    columns, rows = text_files.text_rows(data, STDIN, wanted)
    collected = _Collected(os.getcwd(), wanted)
    collected.take(STDIN, 0, columns, rows)
    return collected.source(None, PIPED)


def open_texts(names: Sequence[str], wanted: Wanted) -> Source:
    """The texts of files, in their order; each of several files has columns of its own.

    Parameters
    ----------
    names : sequence of str
        Paths or URLs, see ``api.sources.open_texts``.
    wanted : Wanted

    Raises
    ------
    SourceError
        If a file cannot be read, or holds no text.
    UsageError
        If a split is wanted, and a file has none.
    """
    whole = [name if is_url(name) else os.path.abspath(name) for name in names]
    root = _folder(whole)
    collected = _Collected(root, wanted)
    for name in whole:
        if os.path.isdir(name):
            raise SourceError(
                f"'{name}' is a folder", hint="Give a file of texts, or shards as 'train-{000..012}.tar'."
            )
        read = shards.rows_of if kind_of(name) is Kind.TAR else text_files.rows_of
        columns, rows = read(name, wanted)
        collected.take(name, files.state(name).mtime_ns, columns, rows)
    short = [opening.relative(root, name) for name in whole]
    return collected.source(whole[0] if len(whole) == 1 else in_braces(root, short), shorten(names, 1, ""))


def _folder(names: Sequence[str]) -> str:
    """The folder of one file, or the lowest that holds all of several."""
    folders = [name.rpartition("/")[0] or "/" for name in names]
    return folders[0] if len({*folders}) == 1 or any(map(is_url, names)) else os.path.commonpath(folders)


class _Collected:
    """Texts as they are read, and what cannot be used."""

    def __init__(self, root: str, wanted: Wanted) -> None:
        self._root = root
        self._wanted = wanted
        self._files: list[SourceFile] = []
        self._skipped: list[Skipped] = []
        self._splits: Counter[str] = Counter()
        self._piped: set[str] = set()

    def take(self, name: str, mtime_ns: int, columns: Columns | None, rows: Iterator[Row | Skipped]) -> None:
        short = PIPED if name == STDIN else opening.relative(self._root, name)
        for row in rows:
            if isinstance(row, Skipped):
                self._skipped.append(Skipped(f"{short}{MEMBER}{row.path}" if row.path else short, row.reason))
                continue
            place, image = f"{short}{MEMBER}{row.place}", None
            value: Any = row.fields
            if columns is not None and not isinstance(row.fields, str):
                if columns.split is not None:
                    known = row.fields.get(columns.split)
                    split = None if known is None else str(known)
                    if split is not None:
                        self._splits[split] += 1
                    if self._wanted.split is not None and self._wanted.split != split:
                        continue
                value, image = row.fields.get(columns.text), columns.image(row.fields)
            try:
                texts = texts_of(value)
            except ValueError as error:
                self._skipped.append(Skipped(place, str(error)))
                continue
            of = None
            if image is not None:  # it is named from the folder of the file
                of = opening.relative(self._root, opening.join(name.rpartition("/")[0] or "/", image))
            for number, text in enumerate(texts, start=1):
                path = place if len(texts) == 1 else f"{place}.{number}"
                if name == STDIN:  # what comes next may be other lines
                    path = f"{short}{MEMBER}{hashlib.sha256(text.encode()).hexdigest()[:16]}"
                    if path in self._piped:
                        continue
                    self._piped.add(path)
                self._files.append(SourceFile(path, text=Text(text, of, mtime_ns)))

    def source(self, origin: str | None, shown: str) -> Source:
        """All of them as one source. Raises SourceError if there is none."""
        if not self._files and self._wanted.split is not None and self._wanted.split not in self._splits:
            raise SourceError(
                f"'{shown}' has no split '{self._wanted.split}'", hint=f"It has {shorten(sorted(self._splits), 8)}."
            )
        if not self._files:
            why = ""
            if self._skipped:
                first = self._skipped[0]
                why = f": {counted(len(self._skipped), 'row')} skipped, first '{first.path}': {first.reason}"
            raise SourceError(f"there are no texts in '{shown}'{why}", hint="docs/texts.md lists the forms of files.")
        return Source(self._root, tuple(self._files), tuple(self._skipped), origin=origin)
