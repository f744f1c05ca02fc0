"""Caches and their disks, the hub, and what Pillow decodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from zsretrieve.doctor.finding import Finding, Status, reason
from zsretrieve.system import install_hints, requirements

_GB = 1e9
# The weights of a large model twice: while they are downloaded, and beside those of another.
_ENOUGH_FREE = 5 * _GB
_TIMEOUT_S = 5.0
# Pillow's names. Without the first two, no common format can be read.
_CODECS = ("jpg", "zlib", "libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff")
_ESSENTIAL = _CODECS[:2]


def caches(torch_hub: str | None) -> Iterator[Finding]:
    """The folders of converted models and of weights. ``torch_hub`` is torch's, None if its probe reported none."""
    from huggingface_hub import constants

    from zsretrieve.system.cache_dir import ENVIRONMENT, cache_folder

    yield _cache("zsretrieve cache", cache_folder(), f"export {ENVIRONMENT}=FOLDER_WITH_SPACE")
    prune = "hf cache prune  # or export HF_HOME=FOLDER_WITH_SPACE"
    yield _cache("Hugging Face cache", Path(constants.HF_HUB_CACHE), prune)
    # open_clip keeps here what it does not fetch through the hub, whatever HF_HOME is.
    open_clip = Path("~/.cache/clip").expanduser()
    if open_clip.is_dir():
        yield _cache("open_clip cache", open_clip, None)
    if torch_hub is not None:
        yield _cache("torch cache", Path(torch_hub), "export TORCH_HOME=FOLDER_WITH_SPACE")
    elif requirements.version_of("torch") is not None:
        yield Finding("torch cache", Status.UNKNOWN, "torch did not report it")


def hub(*, offline: bool) -> Iterator[Finding]:
    """Whether weights can be downloaded: connect as the loading of a model does, then send one request."""
    from huggingface_hub import constants, get_session

    from zsretrieve.encoders.catalog.hub import offline_if_unreachable

    name = "Hugging Face hub"
    if offline:
        yield Finding(name, Status.OK, "not checked because of --offline")
        return
    if constants.HF_HUB_OFFLINE:
        yield Finding(name, Status.OK, "not checked because of HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE")
        return
    with offline_if_unreachable() as problem:
        if problem is None:
            try:
                status = get_session().head(constants.ENDPOINT, timeout=_TIMEOUT_S).status_code
                if status >= 500 or status == 407:
                    problem = f"{constants.ENDPOINT} responds with status {status}"
            except Exception as error:  # noqa: BLE001  (of the hub's client, whichever library it uses)
                problem = f"{constants.ENDPOINT} does not respond: {reason(error)}"
    if problem is None:
        yield Finding(name, Status.OK, f"{constants.ENDPOINT} responds")
    else:
        found = f"{problem}; cached models, --model demo and --model local-dir:PATH work without it"
        fix = "export HTTPS_PROXY=http://PROXY:PORT  # or HF_ENDPOINT=https://MIRROR"
        yield Finding(name, Status.WARNING, found, fix)


def codecs() -> Iterator[Finding]:
    from PIL import features

    versions = {codec: features.version(codec) or "" for codec in _CODECS if features.check(codec)}
    found = ", ".join(f"{codec} {version}".strip() for codec, version in versions.items())
    missing = [codec for codec in _CODECS if codec not in versions]
    if not missing:
        yield Finding("Pillow", Status.OK, found)
        return
    status = Status.WARNING if versions.keys() >= set(_ESSENTIAL) else Status.PROBLEM
    fix = install_hints.install("pillow", again=True)
    yield Finding("Pillow", status, f"{found}; missing: {', '.join(missing)}", fix)


def _cache(name: str, folder: Path, elsewhere: str | None) -> Finding:
    size = _gb(_size(folder)) if folder.is_dir() else "not created yet"
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    found = f"{folder}: {size}; {_gb(free)} free on its disk"
    if not os.access(place, os.W_OK):
        return Finding(name, Status.WARNING, f"{found}; not writable", elsewhere)
    if free < _ENOUGH_FREE:
        return Finding(name, Status.WARNING, f"{found}, too little for large weights", elsewhere)
    return Finding(name, Status.OK, found)


def _size(folder: Path) -> int:
    """Bytes in a folder. Links do not count: those of the hub's cache lead to files in it."""
    files = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(file).st_size for file in files if not os.path.islink(file))


def _gb(size: float) -> str:
    return f"{size / _GB:.1f} GB" if size >= _GB / 10 else f"{size / 1e6:.1f} MB"
