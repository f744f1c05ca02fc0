"""Models converted for the CPU engine, in the user's cache folder; no model library is needed to find or delete them.

``models/KEY/`` holds one: ``model.json`` beside the two towers and the tokenizer. A conversion writes a folder beside
and renames it, so a model is complete or missing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import CacheError, ModelNameError, WeightsUnavailableError
from zsretrieve.domain.records import Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.encoders.catalog.fingerprint import (
    config_bytes,
    digest_of_file,
    image_side,
    sha256_of,
    weights_identity,
)
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm, parse_model_name
from zsretrieve.encoders.catalog.pack import digest_of_pack
from zsretrieve.system.atomic import sync_tree
from zsretrieve.system.cache_dir import PART, cache_folder, locked, part_of, set_aside, size_of, writing

MODELS = "models"
DESCRIPTION = "model.json"
IMAGE, TEXT = "image.xml", "text.xml"
COMPILED = "compiled"
# The prefix of the folders of int8 towers, in the folder of their model.
INT8 = "int8"
# Incremented when models converted by older versions of this package must not be used.
_FORMAT = 2
# The packages whose versions affect a conversion.
_MADE_BY = (
    "ftfy", "open_clip_torch", "openvino", "regex", "timm", "tokenizers", "torch", "transformers", "zsretrieve",
)  # fmt: skip
_ATTEMPTS = 3
# The cause of a failure may pass.
_FAILURE_HOLDS_S = 24 * 3600.0
_OLD_S = 30 * 24 * 3600.0


@dataclass(frozen=True)
class ConvertedModel:
    """A converted model, or the record that it cannot be converted: ``failure`` is the reason.

    With ``causal``, prompts may be cut to their length. With ``half``, the weights were rounded to bf16.
    """

    folder: Path
    name: str
    space: Space | None = None
    head: Head | None = None
    causal: bool = False
    failure: str | None = None
    half: bool = False


@dataclass(frozen=True)
class CacheEntry:
    """One line of ``models cache list``; ``bytes`` on disk, ``made`` in seconds since the epoch."""

    name: str
    folder: Path
    bytes: int
    made: float
    failure: str | None = None


def key_of(name: ModelName) -> str:
    """A digest of what a conversion depends on: weights, configuration and the versions of packages.

    Raises WeightsUnavailableError if the files of a model on disk cannot be read.
    """
    return _key(name, weights_identity(name))


def find(name: ModelName) -> ConvertedModel | None:
    """The converted model, or a record of failure from the last 24 hours; None if there is none or it is damaged.

    Raises WeightsUnavailableError if the files of a model on disk cannot be read.
    """
    weights = weights_identity(name)
    return _read(cache_folder() / MODELS / _key(name, weights), name, weights)


def make_once(name: ModelName, make: Callable[[Path], ConvertedModel]) -> ConvertedModel:
    """Find the converted model, or make it while other processes that need it wait.

    Parameters
    ----------
    name : ModelName
    make : callable
        Writes the files into an empty folder and returns the model.

    Raises
    ------
    CacheError
        If the cache folder cannot be written, or it is unknown which weights were converted.
    """
    for _ in range(_ATTEMPTS):
        model = _make(name, make)
        if model is not None:
            return model
    raise CacheError(
        f"the weights of '{name.written}' changed while they were converted",
        hint="Run it again when they are complete.",
    )


def _make(name: ModelName, make: Callable[[Path], ConvertedModel]) -> ConvertedModel | None:
    """One conversion; None if the weights changed meanwhile."""
    place = cache_folder() / MODELS
    before = weights_identity(name)
    key = _key(name, before)
    with writing(), contextlib.ExitStack() as held:
        held.enter_context(locked(place / f"{key}.lock"))
        existing = _read(place / key, name, before)
        if existing is not None:
            return existing
        part = held.enter_context(part_of(place / key))
        model = make(part)
        weights = weights_identity(name)
        # A hub model's commit is known once it is downloaded; others must not have changed.
        if weights != before and name.form is not NameForm.HUB:
            return None
        if model.space is not None and model.space.weights != weights:
            return None
        if name.form is NameForm.HUB and "@" not in weights:
            raise CacheError(
                f"the commit of '{name.rest}' in the hub's cache is unknown, so its conversion cannot be stored",
                hint="Use `engine` torch.",
            )
        final = _key(name, weights)
        if final != key and name.pack is not None:
            return None
        if final != key:  # its holder knows the commit and does not wait for the other lock
            held.enter_context(locked(place / f"{final}.lock"))
        return _read(place / final, name, weights) or _put(model, name, part, weights)


def _put(model: ConvertedModel, name: ModelName, part: Path, weights: str) -> ConvertedModel | None:
    """Put a conversion in its place; an existing int8 tower stays."""
    _describe(model, part, weights)
    folder = part.with_name(_key(name, weights))
    aside = part.with_name(f"{part.name}-old")
    if folder.exists():
        folder.rename(aside)  # and deleted with the part
        for tower in aside.glob(f"{INT8}-*"):
            tower.rename(part / tower.name)
    sync_tree(part)
    part.rename(folder)
    _drop_older(name, weights)
    return _read(folder, name, weights)


def made_by(model: ConvertedModel) -> dict[str, str]:
    """The versions of the packages that converted a model."""
    return {str(package): str(version) for package, version in _content(model.folder)["versions"].items()}


def forget(name: ModelName) -> None:
    """Delete the converted model, or the record that it cannot be converted. Raises CacheError."""
    _delete([key_of(name)])


def entries() -> list[CacheEntry]:
    """Every converted model in the cache folder, the oldest first."""
    listed = []
    for folder in _folders():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = _content(folder)
            name, made = str(content["name"]), float(content["made"])
            listed.append(CacheEntry(name, folder, size_of(folder), made, content.get("failure")))
    return sorted(listed, key=lambda entry: entry.made)


def clear(name: str | None = None) -> list[CacheEntry]:
    """Delete the converted models with a name, or all, and return them.

    A process that has encoded with one keeps its files; one that has loaded it without using it may fail.

    Raises
    ------
    ModelNameError
        If there is none with that name.
    CacheError
        If one cannot be deleted.
    """
    deleted = entries() if name is None else _named(name.strip())
    place = cache_folder() / MODELS
    keys = [entry.folder.name for entry in deleted]
    if name is None and place.is_dir():
        # Including what killed conversions left behind.
        keys = sorted({path.name.partition(PART)[0] for path in place.iterdir() if path.is_dir()})
    _delete(keys)
    return deleted


def _named(name: str) -> list[CacheEntry]:
    """The converted models with a name. Raises ModelNameError if there is none."""
    listed, key = entries(), None
    # A model whose folder is gone only has the name it is listed under.
    with contextlib.suppress(ModelNameError, WeightsUnavailableError):
        # It may have been converted under the name of a copy.
        key = key_of(parse_model_name(name))
    named = [one for one in listed if one.folder.name == key or _spellings(one.name) & _spellings(name)]
    if not named:
        names = ", ".join(sorted({one.name for one in listed}))
        raise ModelNameError(
            f"there is no converted model '{name}'", hint=f"There is: {names}." if names else "The cache is empty."
        )
    return named


def _spellings(name: str) -> set[str]:
    spellings = {name}
    with contextlib.suppress(ModelNameError):
        parsed = parse_model_name(name)
        spellings |= {parsed.written, parsed.in_manifest}
    return spellings


def _delete(keys: list[str], *, wait: bool = True) -> None:
    place = cache_folder() / MODELS
    with writing():
        for key in keys:
            with locked(place / f"{key}.lock", wait=wait):
                if (place / key).exists():
                    (place / key).rename(set_aside(place / key))
                for left in place.glob(f"{key}{PART}*"):
                    shutil.rmtree(left)


def _folders() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for folder in sorted((cache_folder() / MODELS).iterdir()):
            if folder.is_dir() and PART not in folder.name:
                yield folder


def _read(folder: Path, name: ModelName, weights: str) -> ConvertedModel | None:
    try:
        content = _content(folder)
        if content.get("failure") is not None:
            fresh = abs(time.time() - float(content["made"])) < _FAILURE_HOLDS_S
            return ConvertedModel(folder, name.written, failure=str(content["failure"])) if fresh else None
        if any(digest_of_file(folder / file) != digest for file, digest in content["files"].items()):
            return None
        space, head = content["space"], content["head"]
        if space["weights"] != weights:
            return None
        shape = space["preprocessing"] | {key: tuple(space["preprocessing"][key]) for key in ("size", "mean", "std")}
        text = TextContext(**space["text"])
        return ConvertedModel(
            folder,
            name.written,
            Space(
                name.in_manifest,
                weights,
                space["dim"],
                space["activation"],
                Preprocessing(**shape),
                text,
                image_side(name),
            ),
            Head(ScoreHead(head["kind"]), head["scale"], head["bias"]),
            bool(content["causal"]),
            half=bool(content.get("half")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # missing, damaged or of another version: it is converted again


def _key(name: ModelName, weights: str) -> str:
    if name.pack is not None:
        return f"pack-{digest_of_pack(name.pack)[:24]}"
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
    """Delete conversions of the same weights by other package versions that are over a month old.

    Newer ones are left to other environments. One lock is held already, so models that another process holds are
    left too.
    """
    for folder in _folders():
        with contextlib.suppress(CacheError, OSError, ValueError, KeyError, TypeError):
            content = json.loads((folder / DESCRIPTION).read_bytes())
            same = content["name"] == name.written and content["weights"] == weights
            old = time.time() - float(content["made"]) > _OLD_S
            calibrated = any(folder.glob(f"{INT8}-*"))  # which cannot be made again
            if same and old and not calibrated and content["versions"] != _versions():
                _delete([folder.name], wait=False)


def _content(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / DESCRIPTION).read_bytes())
    if content["format"] != _FORMAT:
        raise ValueError("of another format")
    return dict(content)


def _describe(model: ConvertedModel, folder: Path, weights: str) -> None:
    content = {
        "format": _FORMAT,
        "name": model.name,
        "weights": weights,
        "versions": _versions(),
        "made": time.time(),
        "failure": model.failure,
        "causal": model.causal,
        "half": model.half,
        "space": asdict(model.space) if model.space is not None else None,
        "head": asdict(model.head) if model.head is not None else None,
        # Not by digest_of_file: the folder is about to be renamed.
        "files": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@functools.cache
def _versions() -> dict[str, str]:
    versions = {}
    for package in _MADE_BY:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
