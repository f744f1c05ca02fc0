"""Caches and their disks, the hub, what Pillow decodes, the temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zsretrieve import mending
from zsretrieve.doctor.finding import Finding, Status, reason

_GB = 1e9
# The weights of a large model, twice: while they are fetched and beside those of another.
_ENOUGH_FREE = 5 * _GB
_COUNTING_LIMIT_S = 3.0
_ASKING_LIMIT_S = 5.0
# Pillow's names. Without the first two nothing common can be read.
_CODECS = ("jpg", "zlib", "libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff")
_ESSENTIAL = _CODECS[:2]


def own_cache() -> Iterator[Finding]:
    """Where converted models lie; without it torch runs the models, which is slower."""
    from zsretrieve.encoders.cache import ENVIRONMENT, cache_folder

    yield from _cache("zsretrieve cache", cache_folder(), f"export {ENVIRONMENT}=FOLDER_WITH_SPACE")


def hub_cache() -> Iterator[Finding]:
    from huggingface_hub import constants

    yield from _cache(
        "Hugging Face cache", Path(constants.HF_HUB_CACHE), "hf cache prune  # or export HF_HOME=FOLDER_WITH_SPACE"
    )


def torch_cache(folder: str | None) -> Iterator[Finding]:
    """``folder`` is what torch told; None when it could not."""
    if folder is None:
        yield Finding("torch cache", Status.UNKNOWN, "torch did not tell where it is")
    else:
        yield from _cache("torch cache", Path(folder), "export TORCH_HOME=FOLDER_WITH_SPACE")


def open_clip_cache() -> Iterator[Finding]:
    """open_clip keeps there what it does not fetch through the hub, whatever HF_HOME says."""
    folder = Path("~/.cache/clip").expanduser()
    if folder.is_dir():
        yield from _cache("open_clip cache", folder, None)


def hub(*, offline: bool) -> Iterator[Finding]:
    """Can weights be fetched? A connection is tried as the loading of a model tries it, then one request."""
    from huggingface_hub import constants, get_session

    from zsretrieve.encoders.hub import offline_if_unreachable

    name = "Hugging Face hub"
    if offline:
        yield Finding(name, Status.OK, "not asked, as --offline says")
        return
    if constants.HF_HUB_OFFLINE:
        yield Finding(name, Status.OK, "not asked, as HF_HUB_OFFLINE says", "unset HF_HUB_OFFLINE")
        return
    without = "what is cached, --model demo and --model local-dir:PATH work without it"
    fix = "export HTTPS_PROXY=http://PROXY:PORT  # or HF_ENDPOINT=https://MIRROR"
    with offline_if_unreachable() as why:
        if why is not None:
            yield Finding(name, Status.WARNING, f"{why}; {without}", fix)
            return
        try:
            answer = get_session().head(constants.ENDPOINT, timeout=_ASKING_LIMIT_S)
        except Exception as error:  # noqa: BLE001  (of the hub's client, whichever library it uses)
            yield Finding(
                name, Status.WARNING, f"{constants.ENDPOINT} cannot be asked: {reason(error)}; {without}", fix
            )
            return
    if answer.status_code >= 500 or answer.status_code == 407:
        found = f"{constants.ENDPOINT} answers with status {answer.status_code}; {without}"
        yield Finding(name, Status.WARNING, found, fix)
    else:
        yield Finding(name, Status.OK, f"{constants.ENDPOINT} answers")


def codecs() -> Iterator[Finding]:
    from PIL import features

    there = {codec: features.version(codec) or "" for codec in _CODECS if features.check(codec)}
    missing = [codec for codec in _CODECS if codec not in there]
    found = ", ".join(f"{codec} {version}".strip() for codec, version in there.items())
    if missing:
        found += f"; not there: {', '.join(missing)}"
    again = mending.install("pillow", again=True)
    if any(codec in missing for codec in _ESSENTIAL):
        yield Finding("Pillow", Status.PROBLEM, found, again)
    elif missing:
        yield Finding("Pillow", Status.WARNING, found, again)
    else:
        yield Finding("Pillow", Status.OK, found)
    try:
        import pillow_heif
    except ModuleNotFoundError:
        yield Finding("HEIC", Status.OK, "not read without the extra 'heif'", mending.install("pillow-heif"))
    else:
        yield Finding("HEIC", Status.OK, f"read by libheif {pillow_heif.libheif_version()}")


def temporary_folder() -> Iterator[Finding]:
    name, fix = "temporary folder", "export TMPDIR=WRITABLE_FOLDER"
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"zsretrieve")
            file.flush()
    except OSError as error:
        yield Finding(name, Status.PROBLEM, f"cannot be written: {reason(error)}", fix)
    else:
        folder = Path(tempfile.gettempdir())
        yield Finding(name, Status.OK, f"{folder} can be written, {_gb(shutil.disk_usage(folder).free)} free")


def _cache(name: str, folder: Path, elsewhere: str | None) -> Iterator[Finding]:
    held = _held(folder) if folder.is_dir() else "not there yet"
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    found = f"{folder}: {held}; {_gb(free)} free on its disk"
    if not os.access(place, os.W_OK):
        yield Finding(name, Status.WARNING, f"{found}; it cannot be written", elsewhere)
    elif free < _ENOUGH_FREE:
        yield Finding(name, Status.WARNING, f"{found}, too little for large weights", elsewhere)
    else:
        yield Finding(name, Status.OK, found)


def _held(folder: Path, limit_s: float = _COUNTING_LIMIT_S) -> str:
    """What the files of a folder hold together. Links of the hub's cache lead to files that are counted themselves."""
    end = time.monotonic() + limit_s
    total, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if time.monotonic() > end:
                        return f"at least {_gb(total)}, not counted to the end"
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # closed to us, or gone meanwhile
    return _gb(total)


def _gb(size: float) -> str:
    return f"{size / _GB:.1f} GB" if size >= _GB / 10 else f"{size / 1e6:.1f} MB"
