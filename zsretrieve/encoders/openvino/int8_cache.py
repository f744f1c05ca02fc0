"""int8 image towers, each stored with its converted model under the digest of its weights and ranges."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zsretrieve.encoders.catalog.fingerprint import digest_of_file, sha256_of
from zsretrieve.encoders.openvino.model_cache import DESCRIPTION, IMAGE, INT8, ConvertedModel
from zsretrieve.system.atomic import sync_tree
from zsretrieve.system.cache_dir import locked, part_of, set_aside, writing


@dataclass(frozen=True)
class Int8Tower:
    """An int8 image tower and its accuracy: cosine similarities to fp32 on images it was not calibrated on.

    ``digest`` identifies it: towers of different calibrations give different vectors.
    """

    folder: Path
    digest: str
    mean_cosine: float
    least_cosine: float
    calibrated_on: int
    measured_on: int


def find(model: ConvertedModel) -> Int8Tower | None:
    """The int8 image tower of a model, or None if there is none or it is damaged."""
    for folder in model.folder.glob(f"{INT8}-*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads((folder / DESCRIPTION).read_bytes())
            if all(digest_of_file(folder / file) == digest for file, digest in content.pop("files").items()):
                return Int8Tower(folder, **content)
    return None


def store(model: ConvertedModel, make: Callable[[Path], Int8Tower], *, again: bool) -> Int8Tower:
    """Make an int8 tower in a folder beside, rename it to its digest, and delete an earlier one.

    Without ``again`` an existing tower is kept, which another process may just have made.

    Raises
    ------
    CacheError
        If the cache folder cannot be written.
    """
    with writing(), locked(model.folder.with_name(f"{model.folder.name}.lock")):
        existing = None if again else find(model)
        if existing is not None:
            return existing
        towers = model.folder / INT8
        with part_of(towers) as part:
            tower = make(part)
            # Of the weights and ranges; the names in the graph differ each time.
            tower = replace(tower, digest=sha256_of((part / IMAGE).with_suffix(".bin"))[:12])
            content = asdict(tower) | {"files": {path.name: sha256_of(path) for path in sorted(part.iterdir())}}
            del content["folder"]
            (part / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            sync_tree(part)
            for old in model.folder.glob(f"{INT8}-*"):
                old.rename(set_aside(towers))
            place = model.folder / f"{INT8}-{tower.digest}"
            part.rename(place)
    return replace(tower, folder=place)
