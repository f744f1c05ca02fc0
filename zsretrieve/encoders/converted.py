"""Models converted for the CPU engine, in the user's cache folder: found, checked, listed and deleted without a model
library.

``models/KEY/`` holds one: ``model.json`` beside the two towers and the tokenizer. A model is made in a folder beside
and renamed, so that there is all of it or nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zsretrieve.encoders.cache import PART, cache_folder, locked, size_of, sync_folder, writing
from zsretrieve.encoders.identity import config_bytes, digest_of_file, weights_identity
from zsretrieve.encoders.naming import ModelName, NameForm, parse_model_name
from zsretrieve.errors import CacheError, ModelNameError, WeightsUnavailableError
from zsretrieve.records import Head, Preprocessing, ScoreHead, Space, TextContext

MODELS = "models"
DESCRIPTION = "model.json"
IMAGE, TEXT = "image.xml", "text.xml"
COMPILED = "compiled"
# How the folders of int8 towers begin, in the folder of their model.
INT8 = "int8"
# Raised whenever a converted model of an older version of this package must not be used any more.
_FORMAT = 2
# The packages whose version decides what a conversion gives.
_MADE_BY = (
    "ftfy", "open_clip_torch", "openvino", "regex", "timm", "tokenizers", "torch", "transformers", "zsretrieve",
)  # fmt: skip
_ATTEMPTS = 3
# What made a conversion fail may have passed.
_FAILURE_HOLDS_S = 24 * 3600.0
_OLD_S = 30 * 24 * 3600.0


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
    return _key(name, weights_identity(name))


def find(name: ModelName) -> Converted | None:
    """The converted model, or None if there is none, it is damaged, or that it did not convert is a day old.

    Raises WeightsUnavailableError if the files of a model on disk cannot be read.
    """
    weights = weights_identity(name)
    return _read(cache_folder() / MODELS / _key(name, weights), name, weights)


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
        If the cache folder cannot be written, or it cannot be told which weights were converted.
    """
    for _ in range(_ATTEMPTS):
        made = _make(name, make)
        if made is not None:
            return made
    raise CacheError(
        f"the weights of '{name.written}' changed while they were converted", hint="Run it again when they are whole."
    )


def _make(name: ModelName, make: Callable[[Path], Converted]) -> Converted | None:
    """One conversion; None if the weights were others afterwards."""
    place = cache_folder() / MODELS
    before = weights_identity(name)
    key = _key(name, before)
    with contextlib.ExitStack() as held:
        with writing():
            held.enter_context(locked(place / f"{key}.lock"))
        found = _read(place / key, name, before)
        if found is not None:
            return found
        with writing():
            # Whoever made these is dead, since this process holds the lock.
            for left in place.glob(f"{key}{PART}*"):
                shutil.rmtree(left, ignore_errors=True)
            part = place / f"{key}{PART}{secrets.token_hex(4)}"
            part.mkdir()
        try:
            with writing():
                made = make(part)
            weights = weights_identity(name)
            # The commit of a model of the hub is known once it is fetched; of others nothing may have changed.
            if weights != before and name.form is not NameForm.HUB:
                return None
            if made.space is not None and made.space.weights != weights:
                return None
            if name.form is NameForm.HUB and "@" not in weights:
                raise CacheError(
                    f"it cannot be told which commit of '{name.rest}' is in the hub's cache, so its conversion cannot "
                    "be kept",
                    hint="Use --engine torch.",
                )
            final = _key(name, weights)
            with writing():
                if final != key:  # whoever holds that one knows the commit, and does not wait for this one
                    held.enter_context(locked(place / f"{final}.lock"))
                found = _read(place / final, name, weights)
                return found if found is not None else _put(made, name, part, weights)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _put(made: Converted, name: ModelName, part: Path, weights: str) -> Converted | None:
    """Put a conversion in its place; an int8 tower that is there stays."""
    _describe(made, part, weights)
    folder = part.with_name(_key(name, weights))
    aside = part.with_name(f"{part.name}-old")
    if folder.exists():
        folder.rename(aside)
        for tower in aside.glob(f"{INT8}-*"):
            tower.rename(part / tower.name)
    sync_folder(part)
    part.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
    _drop_older(name, weights)
    return _read(folder, name, weights)


def forget(name: ModelName) -> None:
    """Delete the converted model, or the note that it does not convert. Raises CacheError."""
    _delete([key_of(name)])


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
    """Delete the converted models of a name, or all; what was deleted.

    A process that has encoded with one keeps its files until it ends; one that has it loaded and not used may miss it.

    Raises
    ------
    ModelNameError
        If there is none of that name.
    CacheError
        If one cannot be deleted.
    """
    gone = entries() if name is None else _named(name.strip())
    place = cache_folder() / MODELS
    keys = [entry.folder.name for entry in gone]
    if name is None and place.is_dir():
        # With them goes what conversions that died have left.
        keys = sorted({path.name.partition(PART)[0] for path in place.iterdir() if path.is_dir()})
    _delete(keys)
    return gone


def _named(name: str) -> list[CacheEntry]:
    """The converted models that a name means. Raises ModelNameError if there is none."""
    listed, keys = entries(), set()
    # A model whose folder is gone has no more than the name it is listed under.
    with contextlib.suppress(ModelNameError, WeightsUnavailableError):
        # One that was converted under the name of a copy.
        keys.add(key_of(parse_model_name(name)))
    found = [one for one in listed if one.folder.name in keys or _spellings(one.name) & _spellings(name)]
    if not found:
        names = ", ".join(sorted({one.name for one in listed}))
        raise ModelNameError(
            f"there is no converted model '{name}'", hint=f"There is: {names}." if names else "There is none at all."
        )
    return found


def _spellings(name: str) -> set[str]:
    spellings = {name}
    with contextlib.suppress(ModelNameError):
        parsed = parse_model_name(name)
        spellings |= {parsed.written, parsed.in_passport}
    return spellings


def _delete(keys: list[str], *, wait: bool = True) -> None:
    place = cache_folder() / MODELS
    with writing():
        for key in keys:
            with locked(place / f"{key}.lock", wait=wait):
                if (place / key).exists():
                    (place / key).rename(place / f"{key}{PART}{secrets.token_hex(4)}")
                for left in place.glob(f"{key}{PART}*"):
                    shutil.rmtree(left)


def _folders() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for folder in sorted((cache_folder() / MODELS).iterdir()):
            if folder.is_dir() and PART not in folder.name:
                yield folder


def _read(folder: Path, name: ModelName, weights: str) -> Converted | None:
    try:
        content = _content(folder)
        if content.get("failure") is not None:
            fresh = abs(time.time() - float(content["made"])) < _FAILURE_HOLDS_S
            return Converted(folder, name.written, failure=str(content["failure"])) if fresh else None
        if any(digest_of_file(folder / file) != digest for file, digest in content["files"].items()):
            return None
        space, head = content["space"], content["head"]
        if space["weights"] != weights:
            return None
        shape = {**space["preprocessing"]}
        for key in ("size", "mean", "std"):
            shape[key] = tuple(shape[key])
        opened = Space(
            name.in_passport,
            weights,
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


def _key(name: ModelName, weights: str) -> str:
    config = config_bytes(name)
    content = {
        "weights": weights,
        "config": hashlib.sha256(config).hexdigest() if config is not None else None,
        "arch": name.arch,
        "format": _FORMAT,
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _drop_older(name: ModelName, weights: str) -> None:
    """Delete what other versions of the packages made of the same weights a month ago or earlier.

    Other environments may have these versions, so what is young is left to them. One lock is held already: what
    another process holds is left, too.
    """
    for folder in _folders():
        with contextlib.suppress(CacheError, OSError, ValueError, KeyError, TypeError):
            content = json.loads((folder / DESCRIPTION).read_bytes())
            same = content["name"] == name.written and content["weights"] == weights
            old = time.time() - float(content["made"]) > _OLD_S
            calibrated = any(folder.glob(f"{INT8}-*"))  # which nobody can make again
            if same and old and not calibrated and content["versions"] != _versions():
                _delete([folder.name], wait=False)


def _content(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / DESCRIPTION).read_bytes())
    if content["format"] != _FORMAT:
        raise ValueError("of another format")
    return dict(content)


def _describe(made: Converted, folder: Path, weights: str) -> None:
    digests = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        # Not remembered: the folder is about to be renamed.
        with open(path, "rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    content = {
        "format": _FORMAT,
        "name": made.name,
        "weights": weights,
        "versions": _versions(),
        "made": time.time(),
        "failure": made.failure,
        "causal": made.causal,
        "space": asdict(made.space) if made.space is not None else None,
        "head": asdict(made.head) if made.head is not None else None,
        "files": digests,
    }
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _MADE_BY:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
