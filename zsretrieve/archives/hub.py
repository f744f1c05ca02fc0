"""Data sets of the library ``datasets``: saved on disk, or known to the Hugging Face hub by name."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve import images
from zsretrieve.archives import columns, names
from zsretrieve.archives.places import HUB
from zsretrieve.archives.remote import one_line
from zsretrieve.errors import ImageError, MissingImageError, OptionalDependencyError, SourceError

_SAVED = ("state.json", "dataset_dict.json")
_SPLIT = re.compile(r"(.+):([\w.]+)", re.DOTALL)
_CONFIG = re.compile(r"(.+)@([^@/]+)", re.DOTALL)


@dataclass(frozen=True)
class Name:
    """``hf:PATH_OR_NAME[@CONFIG][:SPLIT]``; ``base`` is an absolute path where there is such a folder."""

    base: str
    config: str | None
    split: str | None

    def __str__(self) -> str:
        config = f"@{self.config}" if self.config is not None else ""
        split = f":{self.split}" if self.split is not None else ""
        return f"{HUB}{self.base}{config}{split}"


def parse(text: str) -> Name:
    """Read a name. A folder that exists under the whole of it goes first. Raises SourceError if it is empty."""
    base, config, split = text.removeprefix(HUB), None, None
    if not os.path.isdir(base) and (found := _SPLIT.fullmatch(base)):
        base, split = found[1], found[2]
    if not os.path.isdir(base) and (found := _CONFIG.fullmatch(base)):
        base, config = found[1], found[2]
    if not base:
        raise SourceError(f"'{text}' names no data set", hint="Write hf:FOLDER:SPLIT or hf:ORG/NAME:SPLIT.")
    return Name(os.path.abspath(base) if os.path.isdir(base) else base, config, split)


def is_saved(folder: str | Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in _SAVED)


def resolve(text: str) -> str:
    """The full name of a data set with its split, which opens it again from anywhere.

    Raises
    ------
    SourceError
        If it cannot be had, has no such split, or has several and none is named.
    """
    name = parse(text)
    with _library(name) as datasets:
        splits = _splits(datasets, name)
    if name.split is None and len(splits) > 1:
        raise SourceError(
            f"'{name}' has several splits: {', '.join(splits)}", hint=f"Name one of them, as in '{name}:{splits[0]}'."
        )
    if name.split is not None and splits and name.split not in splits:
        raise SourceError(f"'{name}' has no such split; it has {', '.join(splits)}", hint="Name one of these.")
    if name.split is None and splits == [""]:  # one data set, saved without splits
        return str(name)
    return str(Name(name.base, name.config, name.split or (splits[0] if splits else "train")))


class Split:
    """The rows of one split; a member is the number of its row.

    Raises
    ------
    SourceError
        If it cannot be had, or no column holds pictures.
    OptionalDependencyError
        If ``datasets`` is not installed.
    """

    damage: str | None = None
    mtime_ns = 0

    def __init__(self, text: str) -> None:
        name = parse(text)
        with _library(name) as datasets:
            rows = _load(datasets, name)
        # Arrow's own form leaves the pictures as they are stored.
        schema = rows.features.arrow_schema
        self._columns = columns.find(schema, text)
        self._rows = rows.select_columns([self._columns.image]).with_format("arrow")
        label = self._columns.label
        self._labels = None if label is None else rows.select_columns([label]).with_format("arrow")
        self._count = len(rows)
        with contextlib.suppress(OSError, KeyError, TypeError):
            self.mtime_ns = max((os.stat(file["filename"]).st_mtime_ns for file in rows.cache_files), default=0)

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The numbers of the rows, and their labels."""
        if self._labels is None or not self._count:
            yield from ((str(row), None) for row in range(self._count))
            return
        for row, value in enumerate(columns.values(self._labels[:].column(0))):
            yield str(row), columns.label_of(value, self._columns)

    def size(self, member: str) -> int:
        return len(self.read(member))

    def read(self, member: str) -> bytes:
        """The bytes of a picture. Raises ImageError with the reason."""
        row = int(member) if names.is_number(member) else -1
        if not 0 <= row < self._count:
            raise MissingImageError("no such row in the data set")
        value = self._rows[row].column(0)[0].as_py()
        path = value.get("path") if isinstance(value, dict) else None
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None and path:
            data = images.read_file(path).data
        if data is None:
            raise ImageError("no image in this row")
        names.check_size(len(data))
        return bytes(data)


@contextlib.contextmanager
def _library(name: Name) -> Iterator[Any]:
    """The library, without its progress bars; whatever it raises becomes a SourceError."""
    try:
        import datasets
    except ImportError as error:
        raise OptionalDependencyError(
            f"opening '{name}' needs the package datasets",
            hint="Install it with: pip install datasets (or: uv pip install datasets)",
        ) from error
    silent = datasets.utils.are_progress_bars_disabled()
    datasets.utils.disable_progress_bars()
    try:
        yield datasets
    except SourceError:
        raise
    except Exception as error:
        local = os.path.isabs(name.base)
        raise SourceError(
            f"'{name}' cannot be opened: {one_line(error)}",
            hint="Check the folder: it should be written by save_to_disk."
            if local
            else "Check the name and the network; what was saved with save_to_disk opens as hf:FOLDER.",
        ) from error
    finally:
        if not silent:
            datasets.utils.enable_progress_bars()


def _splits(datasets: Any, name: Name) -> list[str]:
    if is_saved(name.base):
        loaded = datasets.load_from_disk(name.base)
        return sorted(loaded) if isinstance(loaded, datasets.DatasetDict) else [""]
    return [str(split) for split in datasets.load_dataset_builder(name.base, name.config).info.splits or ()]


def _load(datasets: Any, name: Name) -> Any:
    if not is_saved(name.base):
        return datasets.load_dataset(name.base, name.config, split=name.split)
    loaded = datasets.load_from_disk(name.base)
    return loaded[name.split] if isinstance(loaded, datasets.DatasetDict) else loaded
