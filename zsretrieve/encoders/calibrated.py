"""Picture towers in int8, each kept with its converted model under the digest of its weights and ranges."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zsretrieve.encoders.cache import PART, locked, sync_folder, writing
from zsretrieve.encoders.converted import DESCRIPTION, IMAGE, INT8, Converted
from zsretrieve.encoders.identity import digest_of_file


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


def find(model: Converted) -> Quantised | None:
    """The int8 picture tower of a model, or None if there is none or it is damaged."""
    for folder in model.folder.glob(f"{INT8}-*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads((folder / DESCRIPTION).read_bytes())
            if all(digest_of_file(folder / file) == digest for file, digest in content.pop("files").items()):
                return Quantised(folder, **content)
    return None


def keep(model: Converted, make: Callable[[Path], Quantised], *, anew: bool) -> Quantised:
    """Have an int8 tower made beside, and named by its digest; then the one there may be is deleted.

    Without ``anew`` the one there may be is kept instead, which another process may just have made.

    Raises
    ------
    CacheError
        If the cache folder cannot be written.
    """
    part = model.folder / f"{INT8}{PART}{secrets.token_hex(4)}"
    with writing(), locked(model.folder.with_name(f"{model.folder.name}.lock")):
        for left in model.folder.glob(f"{INT8}{PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        there = None if anew else find(model)
        if there is not None:
            return there
        part.mkdir()
        try:
            made = make(part)
            made = replace(made, digest=_digest_of(part / IMAGE))
            place = model.folder / f"{INT8}-{made.digest}"
            content = {key: value for key, value in asdict(made).items() if key != "folder"}
            content["files"] = {path.name: _sha256(path) for path in sorted(part.iterdir()) if path.is_file()}
            (part / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            sync_folder(part)
            for old in model.folder.glob(f"{INT8}-*"):
                old.rename(model.folder / f"{INT8}{PART}{secrets.token_hex(4)}")
            part.rename(place)
        finally:
            for left in model.folder.glob(f"{INT8}{PART}*"):
                shutil.rmtree(left, ignore_errors=True)
    return replace(made, folder=place)


def _digest_of(tower: Path) -> str:
    """Of weights and ranges; in the graph are names that differ each time it is made."""
    return _sha256(tower.with_suffix(".bin"))[:12]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
