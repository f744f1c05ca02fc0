"""The files of a model: its configuration, its weights and its tokenizer, fetched from the hub where they are not here.

They are looked for where open_clip looks, so that both find the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve.encoders.catalog.fingerprint import checkpoint_in, config_bytes
from zsretrieve.encoders.catalog.layouts import INDEX, WEIGHTS, is_transformers, read_config, shards_of
from zsretrieve.encoders.catalog.model_name import CONFIG, ModelName, NameForm
from zsretrieve.encoders.catalog.registry import common_to_tags, tag_activation
from zsretrieve.encoders.catalog.tables import SCALING, architecture, preprocessing, tag_record

_SAFETENSORS = ".safetensors"
# What open_clip saves, and the files that it takes for the same weights in the safe format.
_WEIGHTS = "open_clip_model.safetensors"
# The files of a tokenizer; CLIP's may be in its older ones.
_TOKENIZERS = (("tokenizer.json", "tokenizer_config.json"), ("vocab.json", "merges.txt", "tokenizer_config.json"))


@dataclass(frozen=True)
class Configuration:
    """A model as open_clip would make it: its towers, and how images are prepared, size excepted.

    In transformers' layout, both are as its files have them: see ``graphs.transformers``.
    """

    model: dict[str, Any]
    images: dict[str, Any]

    @property
    def scaling(self) -> dict[str, Any]:
        """How open_clip prepares images, size excepted."""
        return {key: self.images[key] for key in (*SCALING, "fill_color")}


def configuration(name: ModelName) -> Configuration:
    """The configuration of a model. The name exists.

    Raises
    ------
    WeightsUnavailableError
        If that of a folder is not valid.
    OSError, ValueError
        If that of a repository cannot be fetched or is not valid.
    KeyError
        If it has no ``model_cfg``.
    """
    match name.form:
        case NameForm.TAG:
            activation = tag_activation(str(name.arch), name.rest)
            return _shipped(str(name.arch), activation, tag_record(str(name.arch), name.rest))
        case NameForm.CHECKPOINT:
            common = common_to_tags(str(name.arch))
            return _shipped(str(name.arch), common.activation, common.preprocessing)
        case _:
            content = json.loads(config_bytes(name) or b"") if name.form is NameForm.LOCAL else hub_config(name.rest)
            images = content.get("preprocess_cfg") or {}
            return Configuration(content["model_cfg"], images if is_transformers(name) else _merged(images))


def safe_weights(name: ModelName) -> list[Path]:
    """The weights as safetensors files, downloaded if need be; none if they only exist in another format.

    Raises OSError or ValueError if they are on the hub and cannot be downloaded.
    """
    match name.form:
        case NameForm.LOCAL:
            return [path for path in checkpoint_in(Path(name.rest)) if path.suffix == _SAFETENSORS]
        case NameForm.CHECKPOINT:
            return [Path(name.rest)] if name.rest.endswith(_SAFETENSORS) else []
        case NameForm.HUB if is_transformers(name):
            return _hub_shards(name.rest)
        case NameForm.HUB:
            return _one(hub_file(name.rest, _WEIGHTS))
        case _:
            repository, _, file = str(tag_record(str(name.arch), name.rest).get("hf_hub", "")).rpartition("/")
            if not repository:
                return []
            return _one(hub_file(repository, str(Path(file).with_suffix(_SAFETENSORS)) if file else _WEIGHTS))


def tokenizer_folder(name: ModelName, repository: str) -> Path | None:
    """A folder with ``tokenizer.json`` or CLIP's older files, and ``tokenizer_config.json``; None if there is none.

    Parameters
    ----------
    name : ModelName
        A model in a folder has its tokenizer beside it.
    repository : str
        Where the others have it.
    """
    for files in _TOKENIZERS:
        if name.form is NameForm.LOCAL:
            folder: Path | None = Path(name.rest)
        else:
            found = [hub_file(repository, file) for file in files]
            folder = found[0].parent if found[0] is not None else None
        if folder is not None and all((folder / file).is_file() for file in files):
            return folder
    return None


def hub_config(repository: str) -> dict[str, Any]:
    """The configuration in a repository. Raises OSError or ValueError if it is not available."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    def read(file: str) -> bytes | None:
        try:
            path = hub_file(repository, file)
        except LocalEntryNotFoundError:
            if file != CONFIG:
                raise
            path = None  # offline, nothing says whether the hub has it, and the other layout may be here
        return None if path is None else path.read_bytes()

    content: dict[str, Any] = json.loads(read_config(read))
    return content


def hub_file(repository: str, file: str) -> Path | None:
    """A file of a repository, downloaded if need be; None if it has no such file.

    Raises OSError or ValueError if it cannot be fetched.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return _download(repository, file)
    except LocalEntryNotFoundError:  # it may well be on the hub
        raise
    except EntryNotFoundError:
        return None


def _hub_shards(repository: str) -> list[Path]:
    """The weights of a repository in transformers' layout: one file, or those that its index names."""
    whole = hub_file(repository, WEIGHTS)
    index = None if whole is not None else hub_file(repository, INDEX)
    if index is None:
        return _one(whole)
    return [_download(repository, shard) for shard in shards_of(index.read_bytes())]


def _one(path: Path | None) -> list[Path]:
    return [] if path is None else [path]


def _download(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file))
    except (OSError, ValueError, EntryNotFoundError):
        raise
    except Exception as error:  # of its HTTP library, which is another in each of its versions: the connection broke
        raise OSError(" ".join(str(error).split())) from error


def _shipped(arch: str, activation: str, images: dict[str, Any]) -> Configuration:
    return Configuration({**architecture(arch), "quick_gelu": activation == "quick_gelu"}, _merged(images))


def _merged(images: dict[str, Any]) -> dict[str, Any]:
    usual = preprocessing()
    return usual | {key: value for key, value in images.items() if key in usual and value is not None}
