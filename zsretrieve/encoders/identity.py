"""What identifies a model's weights, told without importing a model library."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

from zsretrieve.encoders.cache import cache_folder, replace_file
from zsretrieve.encoders.naming import ModelName, NameForm, tag_identity
from zsretrieve.errors import WeightsUnavailableError

CONFIG = "open_clip_config.json"
_TOKENIZER_FILES = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "special_tokens_map.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
    }
    | {"spiece.model", "sentencepiece.bpe.model", "tokenizer.model"}
)
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
# A file written to so recently may be written to again without a change of its time stamp.
_SETTLED_NS = 2_000_000_000
_MEMO = "digests.json"
_MOST_REMEMBERED = 200


def weights_identity(name: ModelName) -> str:
    """``tag:ARCH/TAG``, ``hub:ORG/REPO@COMMIT`` or ``sha256:...``.

    Weights alone do not make a space: the same ones under other heads or another tokenizer give other vectors, so the
    digest covers the configuration and the tokenizer's files, too.

    Raises
    ------
    WeightsUnavailableError
        If files of a model on disk cannot be read.
    """
    match name.form:
        case NameForm.TAG:
            return str(tag_identity(name))
        case NameForm.HUB:
            return f"hub:{name.rest}{_hub_commit(name.rest)}"
        case NameForm.CHECKPOINT:
            return _digest_of(name, [Path(name.rest)], _architecture(str(name.arch)))
        case NameForm.LOCAL:
            folder = Path(name.rest)
            config = json.loads(config_bytes(name) or b"{}")
            tokenizer = sorted(p for p in folder.iterdir() if p.is_file() and p.name in _TOKENIZER_FILES)
            return _digest_of(name, [*_checkpoint_in(folder), *tokenizer], config.get("model_cfg", config))


def config_bytes(name: ModelName) -> bytes | None:
    """The configuration of a model in a folder; None for other forms, whose configuration open_clip ships or fetches.

    Raises WeightsUnavailableError if it cannot be understood.
    """
    if name.form is not NameForm.LOCAL:
        return None
    path = Path(name.rest) / CONFIG
    try:
        content = path.read_bytes()
        if not isinstance(json.loads(content), dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    return content


def digest_of_file(path: Path) -> str:
    """The sha256 of a file, remembered in the cache folder by size and times: weights are large and rarely change.

    Raises OSError if it cannot be read.
    """
    now = path.stat()
    stamp = [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev]
    memo = _read_memo()
    known = memo.get(str(path))
    if isinstance(known, list) and known[:-1] == stamp:
        return str(known[-1])
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - max(now.st_mtime_ns, now.st_ctime_ns) > _SETTLED_NS:
        memo.pop(str(path), None)
        memo[str(path)] = [*stamp, digest]
        kept = dict(list(memo.items())[-_MOST_REMEMBERED:])
        with contextlib.suppress(OSError):  # a cache that cannot be written is only slower
            replace_file(cache_folder() / _MEMO, json.dumps(kept).encode())
    return digest


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


def _checkpoint_in(folder: Path) -> list[Path]:
    found = sorted(path for suffix in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{suffix}"))
    preferred = [folder / name for name in _PREFERRED if folder / name in found]
    return (preferred or sorted(found, key=lambda path: path.suffix != ".safetensors"))[:1]


def _architecture(arch: str) -> Any:
    """The configuration that open_clip ships for an architecture, or None if there is none."""
    spec = importlib.util.find_spec("open_clip")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        with contextlib.suppress(OSError):
            return json.loads((Path(place) / "model_configs" / f"{arch}.json").read_text(encoding="utf-8"))
    return None


def _hub_commit(repository: str) -> str:
    """The commit of a repository that lies in the hub's cache, in the layout huggingface_hub documents."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (place / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return f"@{commit}" if os.path.exists(place / "snapshots" / commit / CONFIG) else ""


def _unreadable(name: ModelName, error: Exception) -> WeightsUnavailableError:
    reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
    return WeightsUnavailableError(
        f"the weights of '{name.written}' cannot be loaded: {reason}",
        hint="Check that configuration and weights belong together.",
    )
