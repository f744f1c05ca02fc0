"""What is refused before a model library is imported: unknown names, weights out of reach, code of a model's own."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import ConversionError, UntrustedCodeError, WeightsUnavailableError
from zsretrieve.encoders.catalog.fingerprint import config_bytes
from zsretrieve.encoders.catalog.hub import offline_if_unreachable
from zsretrieve.encoders.catalog.model_name import CONFIG, CONFIG_OF_TRANSFORMERS, ModelName, NameForm
from zsretrieve.encoders.catalog.tables import tag_record

# With this setting a configuration asks transformers, timm or datasets to run Python files of its repository.
_CODE = "trust_remote_code"


def check_available(name: ModelName) -> None:
    """Check a model that is about to be loaded; what only loading can show is left to it.

    Raises
    ------
    ModelNameError
        If there is no such architecture or tag; the nearest names are in the hint.
    WeightsUnavailableError
        If nothing of it is in the hub's cache, and the hub cannot be reached.
    UntrustedCodeError
        See ``refuse_code``.
    """
    from zsretrieve.encoders.catalog.registry import check_tag, is_cached

    match name.form:
        case NameForm.TAG:
            check_tag(str(name.arch), name.rest, name.written)
            weights = tag_record(str(name.arch), name.rest)
            if weights.get("hf_hub") and not is_cached(weights):
                _refuse_offline(name)
        case NameForm.CHECKPOINT:
            check_tag(str(name.arch), None, name.written)
        case NameForm.LOCAL:
            refuse_code(name, json.loads(config_bytes(name) or b"{}"))
        case NameForm.HUB:
            from huggingface_hub import try_to_load_from_cache

            found = [try_to_load_from_cache(name.rest, config) for config in (CONFIG, CONFIG_OF_TRANSFORMERS)]
            cached = [path for path in found if isinstance(path, str)]
            if not cached:
                _refuse_offline(name)
                return
            with contextlib.suppress(OSError, ValueError):  # loading says what is wrong with it
                refuse_code(name, json.loads(Path(cached[0]).read_bytes()))
        case NameForm.PACK:
            pass  # opening it checks it, and it holds no code
        case NameForm.CLASSIFIER:
            pass  # its library knows its names, and runs no code but its own


def refuse_code(name: ModelName, config: Any) -> None:
    """Raise UntrustedCodeError if a configuration asks for code of its own, unless the caller trusts it."""
    if not name.trusted and _asks_for_code(config):
        raise untrusted(name, f"its configuration sets {_CODE}")


def untrusted(name: ModelName, why: str) -> UntrustedCodeError:
    """The error for a model that would run code of its own."""
    return UntrustedCodeError(
        f"'{name.written}' would run Python code that comes with the model: {why}",
        hint="Read that code first; if you trust it, run again with `trust_remote_code`.",
    )


def unavailable(name: ModelName, reason: str) -> WeightsUnavailableError:
    """The error for a model whose weights are not here and cannot be fetched."""
    return WeightsUnavailableError(
        f"could not load the weights of '{name.written}': {reason}",
        hint="Check the network and HF_HUB_OFFLINE, or use a model on disk (local-dir:PATH), or the model demo, "
        "which only recognises coloured shapes.",
    )


def not_built(name: ModelName, why: object) -> ConversionError:
    """The error for a model in transformers' layout that is not of a kind that is built from its weights."""
    return ConversionError(
        f"'{name.written}' cannot run here: {why}",
        hint="In transformers' layout, models of the types clip and siglip run, from weights in safetensors. "
        "open_clip may have it under a name of its own: zsretrieve models list --all",
    )


def _refuse_offline(name: ModelName) -> None:
    with offline_if_unreachable() as offline:
        if offline is not None:
            raise unavailable(name, f"not in the cache, and {offline}")


def _asks_for_code(config: Any) -> bool:
    match config:
        case dict():
            return any((key == _CODE and value) or _asks_for_code(value) for key, value in config.items())
        case list():
            return any(_asks_for_code(value) for value in config)
        case _:
            return False
