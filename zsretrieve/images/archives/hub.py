"""Data sets of the library ``datasets``: saved on disk, or by name on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import ImageError, MissingImageError, OptionalDependencyError, SourceError
from zsretrieve.domain.wording import one_line
from zsretrieve.images import content
from zsretrieve.images.addresses import HUB
from zsretrieve.images.archives import columns
from zsretrieve.images.archives import members as names
from zsretrieve.system import install_hints

_SAVED = ("state.json", "dataset_dict.json")
_SPLIT = re.compile(r"(.+):([\w.]+)", re.DOTALL)
_CONFIG = re.compile(r"(.+)@([^@/]+)", re.DOTALL)


@dataclass(frozen=True)
class Name:
    """``hf:PATH_OR_NAME[@CONFIG][:SPLIT]``; ``base`` is an absolute path if there is such a folder."""

    base: str
    config: str | None
    split: str | None

    def __str__(self) -> str:
        config = f"@{self.config}" if self.config is not None else ""
        split = f":{self.split}" if self.split is not None else ""
        return f"{HUB}{self.base}{config}{split}"


def parse(text: str) -> Name:
    """Parse a name. An existing folder of the whole name takes precedence. Raises SourceError if it is empty."""
    base, config, split = text.removeprefix(HUB), None, None
    if not os.path.isdir(base) and (found := _SPLIT.fullmatch(base)):
        base, split = found[1], found[2]
    if not os.path.isdir(base) and (found := _CONFIG.fullmatch(base)):
        base, config = found[1], found[2]
    if not base:
        raise SourceError(f"'{text}' does not name a data set", hint="Write hf:FOLDER:SPLIT or hf:ORG/NAME:SPLIT.")
    return Name(os.path.abspath(base) if os.path.isdir(base) else base, config, split)


def is_saved(folder: str | Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in _SAVED)


def resolve(text: str) -> str:
    """The full name of a data set with its split, which opens it from any folder.

    Raises
    ------
    SourceError
        If it is not available, has no such split, or has several and none is named.
    """
    name = parse(text)
    with _library(name) as datasets:
        splits = _splits(datasets, name)
    if name.split is None and len(splits) > 1:
        raise SourceError(
            f"'{name}' has several splits: {', '.join(splits)}", hint=f"Name one of them, as in '{name}:{splits[0]}'."
        )
    if name.split is not None and splits and name.split not in splits:
        raise SourceError(f"'{name}' has no such split; it has {', '.join(splits)}", hint="Name one of them.")
    if name.split is None and splits == [""]:  # one data set, saved without splits
        return str(name)
    return str(Name(name.base, name.config, name.split or (splits[0] if splits else "train")))


class Split:
    """The rows of one split; a member is the number of its row.

    Raises
    ------
    SourceError
        If it is not available, or no column holds images.
    OptionalDependencyError
        If ``datasets`` is not installed.
    """

    damage: str | None = None
    label_problem: str | None = None
    repeated = 0
    mtime_ns = 0

    def __init__(self, text: str) -> None:
        name = parse(text)
        with _library(name) as datasets:
            rows = _load(datasets, name)
        # The Arrow format leaves the images as they are stored.
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
        labels = columns.Labels(self._columns)
        if self._labels is None or not self._count:
            yield from ((str(row), None) for row in range(self._count))
        else:
            yield from ((str(row), label) for row, label in enumerate(labels.read(self._labels[:].column(0))))
        self.label_problem = labels.problem

    def size(self, member: str) -> int:
        return len(self.read(member))

    def read(self, member: str) -> bytes:
        """The bytes of an image. Raises ImageError with the reason."""
        row = int(member) if names.is_number(member) else -1
        if not 0 <= row < self._count:
            raise MissingImageError("no such row in the data set")
        value = self._rows[row].column(0)[0].as_py()
        path = value.get("path") if isinstance(value, dict) else None
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None and path:
            data = content.read_file(path).data
        if data is None:
            raise ImageError("no image in this row")
        names.check_size(len(data))
        return bytes(data)


@contextlib.contextmanager
def _library(name: Name) -> Iterator[Any]:
    """The library, without its progress bars; its errors become a SourceError."""
    try:
        import datasets
    except ImportError as error:
        raise OptionalDependencyError(
            f"opening '{name}' needs the package datasets",
            hint=f"Install it with: {install_hints.install('datasets')}",
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
            hint="Check the folder: save_to_disk should have written it."
            if local
            else "Check the name and the network; open a folder written by save_to_disk as hf:FOLDER.",
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
