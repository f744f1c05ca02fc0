"""The two layouts that a model's files come in: open_clip's, and transformers' where there is none of open_clip's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsretrieve.encoders.catalog.model_name import CONFIG, CONFIG_OF_TRANSFORMERS, ModelName, NameForm

_IMAGES, _PROCESSOR = "preprocessor_config.json", "processor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def is_transformers(name: ModelName) -> bool:
    """Whether a model is in transformers' layout, as far as its files are on this machine."""
    if name.form is NameForm.LOCAL:
        return not (Path(name.rest) / CONFIG).is_file()
    if name.form is not NameForm.HUB:
        return False
    from huggingface_hub import try_to_load_from_cache

    own, theirs = (try_to_load_from_cache(name.rest, file) for file in (CONFIG, CONFIG_OF_TRANSFORMERS))
    return isinstance(theirs, str) and not isinstance(own, str)


def read_config(read: Callable[[str], bytes | None]) -> bytes:
    """The configuration of a model: JSON with ``model_cfg``, in transformers' layout that of its ``config.json``.

    Parameters
    ----------
    read : callable
        Gives the content of a file by its name, None if there is no such file.

    Raises
    ------
    ValueError
        If a file is missing or not valid.
    """
    own = read(CONFIG)
    if own is not None:
        _parsed(own, CONFIG)
        return own
    model = _parsed(read(CONFIG_OF_TRANSFORMERS), CONFIG_OF_TRANSFORMERS)
    if "model_type" not in model:
        raise ValueError(f"its {CONFIG_OF_TRANSFORMERS} names no model_type")
    images = read(_IMAGES)
    if images is not None:
        prepared = _parsed(images, _IMAGES)
    else:
        processor = read(_PROCESSOR)
        prepared = _parsed(processor, _PROCESSOR).get("image_processor", {}) if processor is not None else {}
    if not prepared:
        raise ValueError(f"it has no {_IMAGES}")
    return json.dumps({"model_cfg": model, "preprocess_cfg": prepared}, sort_keys=True).encode()


def shards_of(index: bytes) -> list[str]:
    """The names of the files that hold the weights. Raises ValueError if the index is not valid."""
    names = sorted(set(_parsed(index, INDEX).get("weight_map", {}).values()))
    if not names or any(Path(name).name != name for name in names):
        raise ValueError(f"its {INDEX} names no files beside it")
    return names


def _parsed(content: bytes | None, file: str) -> dict[str, Any]:
    if content is None:
        raise ValueError(f"it has no {file}")
    parsed = json.loads(content)
    if not isinstance(parsed, dict):
        raise ValueError(f"its {file} is not a JSON object")
    return parsed
