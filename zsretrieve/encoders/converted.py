"""Models converted for the CPU engine, in the user's cache folder: found, checked, listed and deleted without a model
library.

``models/KEY/`` holds one: ``model.json`` beside the two towers and the tokenizer. A model is made in a folder beside
and renamed, so that there is all of it or nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zsretrieve.encoders.cache import cache_folder, locked, size_of, writing
from zsretrieve.encoders.identity import config_bytes, weights_identity
from zsretrieve.encoders.naming import ModelName
from zsretrieve.records import Head, Preprocessing, ScoreHead, Space, TextContext

MODELS = "models"
DESCRIPTION = "model.json"
IMAGE, TEXT = "image.xml", "text.xml"
COMPILED = "compiled"
INT8 = "int8"
# Raised whenever a converted model of an older version of this package must not be used any more.
_FORMAT = 1
# The packages whose version decides what a conversion gives.
_MADE_BY = ("open_clip_torch", "openvino", "timm", "tokenizers")
_PART = ".part-"


@dataclass(frozen=True)
class Quantised:
    """An int8 picture tower and what it cost: cosine similarities to fp32 on pictures it was not calibrated on.

    ``digest`` identifies it: towers of different calibrations give different vectors.
    """

    folder: Path
    digest: str
    mean_cosine: float
    least_cosine: float
    calibrated_on: int
    measured_on: int


@dataclass(frozen=True)
class Converted:
    """A converted model.

    ``causal`` tells that its prompts may be cut to their length. ``failure`` says why there is none, where the
    model could not be converted; then the other fields but ``folder`` and ``name`` mean nothing.
    """

    folder: Path
    name: str
    space: Space | None = None
    head: Head | None = None
    causal: bool = False
    failure: str | None = None


@dataclass(frozen=True)
class CacheEntry:
    """One line of ``models cache list``; ``bytes`` on the disk, ``made`` in seconds since the epoch."""

    name: str
    folder: Path
    bytes: int
    made: float
    failure: str | None = None


def key_of(name: ModelName) -> str:
    """What a conversion depends on: weights, configuration and the versions of what makes it.

    Raises WeightsUnavailableError if the files of a model on disk cannot be read.
    """
    config = config_bytes(name)
    content = {
        "weights": weights_identity(name),
        "config": hashlib.sha256(config).hexdigest() if config is not None else None,
        "arch": name.arch,
        "format": _FORMAT,
        **{package: _version(package) for package in _MADE_BY},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def find(name: ModelName) -> Converted | None:
    """The converted model, or None if there is none or it is damaged."""
    return _read(cache_folder() / MODELS / key_of(name), name)


def make_once(name: ModelName, make: Callable[[Path], Converted]) -> Converted:
    """Find the converted model, or have it made while other processes that want the same wait.

    Parameters
    ----------
    name : ModelName
    make : callable
        Writes the files into an empty folder and describes them.

    Raises
    ------
    CacheError
        If the cache folder cannot be written.
    """
    place = cache_folder() / MODELS
    key = key_of(name)
    with contextlib.ExitStack() as held:
        with writing():
            held.enter_context(locked(place / f"{key}.lock"))
        found = _read(place / key, name)
        if found is not None:
            return found
        with writing():
            # Whoever made these is dead, since this process holds the lock.
            for left in place.glob(f"{key}{_PART}*"):
                shutil.rmtree(left, ignore_errors=True)
            shutil.rmtree(place / key, ignore_errors=True)
            part = place / f"{key}{_PART}{secrets.token_hex(4)}"
            part.mkdir()
            try:
                _describe(make(part), part)
                _sync(part)
                part.rename(place / key)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        made = _read(place / key, name)
    assert made is not None, "what was just written can be read"
    return made


def forget(name: ModelName) -> None:
    """Delete the converted model, or the note that it does not convert. Raises CacheError."""
    _delete([key_of(name)])


def quantised(model: Converted) -> Quantised | None:
    """The int8 picture tower of a model, or None if there is none or it is damaged."""
    for folder in model.folder.glob(f"{INT8}-*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads((folder / DESCRIPTION).read_bytes())
            if all((folder / file).stat().st_size == size for file, size in content.pop("files").items()):
                return Quantised(folder, **content)
    return None


def keep_quantised(model: Converted, make: Callable[[Path], Quantised]) -> Quantised:
    """Have an int8 tower made beside, and named by its digest; then the one there may be is deleted.

    Raises
    ------
    CacheError
        If the cache folder cannot be written.
    """
    part = model.folder / f"{INT8}{_PART}{secrets.token_hex(4)}"
    with writing(), locked(model.folder.with_name(f"{model.folder.name}.lock")):
        for left in model.folder.glob(f"{INT8}{_PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir()
        try:
            made = make(part)
            made = replace(made, digest=_digest_of(part / IMAGE))
            place = model.folder / f"{INT8}-{made.digest}"
            content = {key: value for key, value in asdict(made).items() if key != "folder"}
            content["files"] = {path.name: path.stat().st_size for path in sorted(part.iterdir()) if path.is_file()}
            (part / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            _sync(part)
            for old in model.folder.glob(f"{INT8}-*"):
                old.rename(model.folder / f"{INT8}{_PART}{secrets.token_hex(4)}")
            part.rename(place)
        finally:
            for left in model.folder.glob(f"{INT8}{_PART}*"):
                shutil.rmtree(left, ignore_errors=True)
    return replace(made, folder=place)


def entries() -> list[CacheEntry]:
    """Every converted model in the cache folder, the oldest first."""
    found = []
    for folder in _folders():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = _content(folder)
            found.append(
                CacheEntry(
                    str(content["name"]), folder, size_of(folder), float(content["made"]), content.get("failure")
                )
            )
    return sorted(found, key=lambda entry: entry.made)


def clear(name: str | None = None) -> list[CacheEntry]:
    """Delete the converted models of a name, or all; what was deleted. Raises CacheError.

    A process that has one open keeps its files until it ends.
    """
    gone = [entry for entry in entries() if name in (None, entry.name)]
    place = cache_folder() / MODELS
    keys = [entry.folder.name for entry in gone]
    if name is None and place.is_dir():
        # With them goes what conversions that died have left.
        keys = sorted({path.name.partition(_PART)[0] for path in place.iterdir() if path.is_dir()})
    _delete(keys)
    return gone


def _delete(keys: list[str]) -> None:
    place = cache_folder() / MODELS
    with writing():
        for key in keys:
            with locked(place / f"{key}.lock"):
                if (place / key).exists():
                    (place / key).rename(place / f"{key}{_PART}{secrets.token_hex(4)}")
                for left in place.glob(f"{key}{_PART}*"):
                    shutil.rmtree(left)


def _folders() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for folder in sorted((cache_folder() / MODELS).iterdir()):
            if folder.is_dir() and _PART not in folder.name:
                yield folder


def _read(folder: Path, name: ModelName) -> Converted | None:
    try:
        content = _content(folder)
        if content.get("failure") is not None:
            return Converted(folder, name.written, failure=str(content["failure"]))
        if any((folder / file).stat().st_size != size for file, size in content["files"].items()):
            return None
        space, head = content["space"], content["head"]
        shape = {**space["preprocessing"]}
        for key in ("size", "mean", "std"):
            shape[key] = tuple(shape[key])
        opened = Space(
            name.in_passport,
            space["weights"],
            space["dim"],
            space["activation"],
            Preprocessing(**shape),
            TextContext(**space["text"]),
        )
        return Converted(
            folder,
            name.written,
            opened,
            Head(ScoreHead(head["kind"]), head["scale"], head["bias"]),
            bool(content["causal"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, damaged, or of another version: it is made again


def _content(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / DESCRIPTION).read_bytes())
    if content["format"] != _FORMAT:
        raise ValueError("of another format")
    return dict(content)


def _describe(made: Converted, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "format": _FORMAT,
        "name": made.name,
        "made": time.time(),
        "failure": made.failure,
        "causal": made.causal,
        "space": asdict(made.space) if made.space is not None else None,
        "head": asdict(made.head) if made.head is not None else None,
        "files": {str(path.relative_to(folder)): path.stat().st_size for path in files},
    }
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _digest_of(tower: Path) -> str:
    """Of weights and ranges; in the graph are names that differ each time it is made."""
    with tower.with_suffix(".bin").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
