"""The passport: ``manifest.json``, read strictly and written in one canonical form.

The file ends with a digest of its own content, and only the canonical bytes are accepted, so any change shows.
"""

from __future__ import annotations

import hashlib
import json
import re
import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from zsretrieve.errors import IndexFormatError, IndexVersionError
from zsretrieve.records import Manifest

NAME = "manifest.json"
COPY = "manifest.copy.json"
STAGING = ".building"
FORMAT = "zsretrieve-index"
FORMAT_VERSION = 2

# Ids from elsewhere stay below this, so that there always is a next one in an int64.
MAX_ID = 2**62
_MAX_NEXT_ID = 2**63 - 1
_SEGMENT = re.compile(r"[0-9a-f]{12}")
_FILE = re.compile(
    r"segments/[0-9a-f]{12}/(vectors\.npy|items(\.copy)?\.parquet|removed\.npy|drawn\.npy|prompts\.json|index\.faiss)"
)

# Fields that came later and say nothing of most indexes; without them a version that does not know them reads the rest.
_ONLY_IF_TOLD = ("training", "lifted")

_Record = TypeVar("_Record")
REBUILD = "Restore the folder from a copy, or build the index again."


def to_bytes(manifest: Manifest) -> bytes:
    """The canonical form of a passport."""
    content = {"format": FORMAT, **asdict(manifest)}
    for name in _ONLY_IF_TOLD:
        if not content[name]:
            del content[name]
    content["digest"] = _digest(content)
    return _canonical(content)


def to_json(manifest: Manifest) -> dict[str, Any]:
    """The passport as it stands in the file."""
    loaded: dict[str, Any] = json.loads(to_bytes(manifest))
    return loaded


def is_index(folder: Path) -> bool:
    """Whether a folder holds a passport of ours; reading it tells whether it is sound."""
    try:
        return f'"format": "{FORMAT}"'.encode() in (folder / NAME).read_bytes()
    except OSError:
        return False


def is_there(folder: Path) -> bool:
    """Whether a folder has a passport or a copy of one, sound or not."""
    return (folder / NAME).exists() or (folder / COPY).exists()


def read(folder: Path) -> Manifest:
    """Read and check the passport of an index folder.

    Raises
    ------
    IndexFormatError
        If there is none, it is damaged, or it was written by a newer version.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise IndexFormatError(
            f"there is no index at '{folder}'", hint="Build one with: zsretrieve index gallery FOLDER OUT"
        )
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        if (folder / COPY).exists():
            raise IndexFormatError(f"the passport of '{folder}' is missing", hint=_repair(folder)) from error
        if (folder / STAGING / NAME).exists():
            raise IndexFormatError(
                f"the index at '{folder}' is not finished: its building was interrupted", hint=_go_on(folder)
            ) from error
        raise IndexFormatError(
            f"'{folder}' is not an index: it has no {NAME}", hint="Give the folder that an index command wrote."
        ) from error
    except OSError as error:
        raise IndexFormatError(f"'{path}' cannot be read: {error.strerror}", hint="Check its permissions.") from error
    return from_bytes(raw, path)


def read_either(folder: Path) -> Manifest:
    """Read the passport, or its copy where the passport is missing or damaged.

    Raises
    ------
    IndexFormatError
        If neither is sound, or the passport cannot be read or is of another version.
    """
    try:
        return read(folder)
    except IndexVersionError:
        raise
    except IndexFormatError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise  # it may be sound, though it cannot be read now
        try:
            return from_bytes((folder / COPY).read_bytes(), folder / COPY)
        except IndexVersionError:
            raise
        except (OSError, IndexFormatError):
            raise IndexFormatError(f"{error.message}, and so is its copy", hint=REBUILD) from None


def from_bytes(raw: bytes, path: Path) -> Manifest:
    """Parse and check the bytes of a passport; ``path`` is for messages. Raises IndexFormatError."""
    mend = _repair(path.parent)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise IndexFormatError(f"'{path}' is damaged: not valid JSON", hint=mend) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise IndexFormatError(f"'{path}' is not the passport of a zsretrieve index", hint=mend)
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IndexVersionError(
            f"'{path}' has format version {version}; this zsretrieve reads up to {FORMAT_VERSION}",
            hint="Upgrade zsretrieve.",
        )
    if version == 1:
        raise IndexVersionError(
            f"'{path}' has format version 1, which was given up before the first release", hint="Build the index again."
        )
    digest = content.pop("digest", None)
    if digest != _digest(content) or _canonical({**content, "digest": digest}) != raw:
        raise IndexFormatError(f"'{path}' is damaged: its digest does not match its content", hint=mend)
    del content["format"]
    try:
        manifest = _build(Manifest, content)
    except (TypeError, ValueError, KeyError) as error:
        raise IndexFormatError(f"'{path}' is damaged: {error}", hint=mend) from error
    _check_names(manifest, path)
    return manifest


def _check_names(manifest: Manifest, path: Path) -> None:
    """Refuse names and numbers that no writer of ours gives, though the digest fits."""
    mend = _repair(path.parent)
    names = {segment.name for segment in manifest.segments}
    for name in [*manifest.files, *([] if manifest.index is None else [manifest.index])]:
        if _FILE.fullmatch(name) is None:
            raise IndexFormatError(f"'{path}' names a file that is none of an index: {name!r}", hint=mend)
    if not all(_SEGMENT.fullmatch(name) for name in names) or len(names) < len(manifest.segments):
        raise IndexFormatError(f"'{path}' names segments that are none", hint=mend)
    numbers = [manifest.count, manifest.generation, *(n for s in manifest.segments for n in (s.rows, s.removed))]
    if min(numbers) < 0 or not 0 <= manifest.next_id <= _MAX_NEXT_ID:
        raise IndexFormatError(f"'{path}' is damaged: it holds numbers that cannot be", hint=mend)
    if any("\0" in text for text in (manifest.root or "", *manifest.origins)):
        raise IndexFormatError(f"'{path}' is damaged: it holds paths that cannot be", hint=mend)


def _repair(folder: Path) -> str:
    return f"See what can be saved with: zsretrieve index repair '{folder}'"


def _go_on(folder: Path) -> str:
    """How to finish an interrupted build."""
    try:
        begun = from_bytes((folder / STAGING / NAME).read_bytes(), folder / STAGING / NAME)
    except (OSError, IndexFormatError):
        return "Run the command that builds it once more."
    source = begun.origins[0] if begun.origins else "SOURCE"
    return f"Go on with: zsretrieve index gallery '{source}' '{folder}' --model {begun.space.model}"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def _build(kind: type[_Record], value: Any) -> _Record:
    if not isinstance(value, dict):
        raise TypeError(f"{kind.__name__} must be an object")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = set(value) - set(known)
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}")
    for name, spec in known.items():
        if name not in value and spec.default is MISSING and spec.default_factory is MISSING:
            raise KeyError(f"{kind.__name__} lacks {name!r}")
    return kind(**{name: _value(hints[name], entry, name) for name, entry in value.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        return _value(next(arg for arg in get_args(hint) if arg is not type(None)), value, name)
    if origin is tuple and isinstance(value, list):
        args = get_args(hint)
        if args[-1] is Ellipsis:
            return tuple(_value(args[0], entry, name) for entry in value)
        if len(args) == len(value):
            return tuple(_value(arg, entry, name) for arg, entry in zip(args, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {key: _value(get_args(hint)[1], entry, name) for key, entry in value.items()}
    elif isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise TypeError(f"{name!r} has an unexpected value")
