"""The identity of a model's weights, found without importing a model library."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import WeightsUnavailableError
from zsretrieve.encoders.catalog.layouts import INDEX, read_config, shards_of
from zsretrieve.encoders.catalog.model_name import CONFIG, CONFIG_OF_TRANSFORMERS, ModelName, NameForm
from zsretrieve.encoders.catalog.tables import architecture
from zsretrieve.system.atomic import write_file
from zsretrieve.system.cache_dir import cache_folder

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json", "vocab.json",
    "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
# The order in which open_clip looks for the weights of a local model (open_clip.factory._find_checkpoint_in_dir).
_PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
# A file changed so recently may change again within the same time stamp.
_SETTLED_NS = 2_000_000_000
# In the folder of a model that was trained here: ``weights``, its own, and ``images_of``, see ``domain.records.Space``.
RECORD = "zsretrieve.json"
_MEMO = "digests.json"
_MOST_CACHED = 200


def weights_identity(name: ModelName) -> str:
    """``tag:ARCH/TAG``, ``hub:ORG/REPO@COMMIT`` or ``sha256:...``.

    The same weights with other heads or another tokenizer give other vectors, so the digest also covers the
    configuration and the tokenizer's files.

    Raises
    ------
    WeightsUnavailableError
        If files of a model on disk cannot be read.
    """
    match name.form:
        case NameForm.TAG:
            return f"tag:{str(name.arch).removesuffix('-quickgelu')}/{name.rest.lower().replace('-', '_')}"
        case NameForm.HUB:
            return f"hub:{name.rest}{_hub_commit(name.rest)}"
        case NameForm.CLASSIFIER:
            return name.written
        case NameForm.PACK:
            from zsretrieve.encoders.catalog.pack import read_pack

            return read_pack(Path(name.rest)).space.weights
        case NameForm.CHECKPOINT:
            return _digest_of(name, [Path(name.rest)], architecture(str(name.arch)) or None)
        case NameForm.LOCAL:
            folder = Path(name.rest)
            config = json.loads(config_bytes(name) or b"{}")
            tokenizer = sorted(p for p in folder.iterdir() if p.is_file() and p.name in TOKENIZER_FILES)
            try:
                weights = checkpoint_in(folder)
            except (OSError, ValueError) as error:
                raise _unreadable(name, error) from error
            return _digest_of(name, [*weights, *tokenizer], config.get("model_cfg", config))


def image_side(name: ModelName) -> str | None:
    """The weights that the image tower was taken from unchanged, where only the text side of a model was trained; else
    None. A record in a folder only counts for the very weights that it was written for.

    Raises WeightsUnavailableError as ``weights_identity`` does.
    """
    if name.form is NameForm.PACK:
        from zsretrieve.encoders.catalog.pack import read_pack

        return read_pack(Path(name.rest)).space.images_of
    if name.form is not NameForm.LOCAL:
        return None
    try:
        record = json.loads((Path(name.rest) / RECORD).read_bytes())
        return str(record["images_of"]) if record["weights"] == weights_identity(name) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def config_bytes(name: ModelName) -> bytes | None:
    """The configuration of a model in a folder, as ``read_config`` gives it; None for other forms.

    Raises WeightsUnavailableError if it is not valid.
    """
    if name.form is not NameForm.LOCAL:
        return None
    folder = Path(name.rest)
    try:
        return read_config(lambda file: (folder / file).read_bytes() if (folder / file).exists() else None)
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(name, error) from error


def digest_of_file(path: Path) -> str:
    """The sha256 of a file, cached by size and times: weights are large and rarely change.

    Raises OSError if it cannot be read.
    """
    now = path.stat()
    stamp = [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev]
    memo = _read_memo()
    known = memo.get(str(path))
    if isinstance(known, list) and known[:-1] == stamp:
        return str(known[-1])
    digest = sha256_of(path)
    if time.time_ns() - max(now.st_mtime_ns, now.st_ctime_ns) > _SETTLED_NS:
        memo.pop(str(path), None)
        memo[str(path)] = [*stamp, digest]
        kept = dict(list(memo.items())[-_MOST_CACHED:])
        with contextlib.suppress(OSError):  # without a cache it is only slower
            cache_folder().mkdir(parents=True, exist_ok=True)
            write_file(cache_folder() / _MEMO, json.dumps(kept).encode())
    return digest


def sha256_of(path: Path) -> str:
    """The sha256 of a file. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_memo() -> dict[str, Any]:
    try:
        memo = json.loads((cache_folder() / _MEMO).read_bytes())
    except (OSError, ValueError):
        return {}
    return memo if isinstance(memo, dict) else {}


def _digest_of(name: ModelName, paths: list[Path], config: Any) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    try:
        for path in paths:
            digest.update(bytes.fromhex(digest_of_file(path)))
    except OSError as error:
        raise _unreadable(name, error) from error
    return f"sha256:{digest.hexdigest()}"


def checkpoint_in(folder: Path) -> list[Path]:
    """The weights in a folder: one file, or those that transformers' index names.

    Raises OSError or ValueError if the index cannot be read or is not valid.
    """
    files = sorted(path for suffix in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{suffix}"))
    preferred = [folder / name for name in _PREFERRED if folder / name in files]
    if not preferred and (folder / INDEX).is_file():
        return [folder / shard for shard in shards_of((folder / INDEX).read_bytes())]
    return (preferred or sorted(files, key=lambda path: path.suffix != ".safetensors"))[:1]


def _hub_commit(repository: str) -> str:
    """``@COMMIT`` of a repository in the hub's cache, in the layout that huggingface_hub documents; or nothing."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (place / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    here = (os.path.exists(place / "snapshots" / commit / config) for config in (CONFIG, CONFIG_OF_TRANSFORMERS))
    return f"@{commit}" if any(here) else ""


def _unreadable(name: ModelName, error: Exception) -> WeightsUnavailableError:
    reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
    return WeightsUnavailableError(
        f"could not load the weights of '{name.written}': {reason}",
        hint="Check that configuration and weights belong together.",
    )
