"""Opening indexes."""

from __future__ import annotations

import os
from typing import Any

from zsretrieve.backends import loading as backend_loading
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Manifest, PathLike
from zsretrieve.domain.settings import Shards
from zsretrieve.store import indexes
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.named import PREFIX, folder_of


def open_prototypes(folder: PathLike, *, device: str = "auto", half: bool = False) -> Prototypes:
    """Open a prototype index; ``half`` keeps a GPU's copy in float16, and results stay exact.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_prototypes(folder_of(folder), backend_loading.index_backend(device, half=half))


def open_gallery(
    folder: PathLike, *, device: str = "auto", half: bool = False, sharded: bool = False, ray: Shards | None = None
) -> Gallery:
    """Open a gallery index; ``half`` keeps a GPU's copy in float16, and results stay exact. On several GPUs
    (``cuda:0,cuda:1`` or ``cuda:all``) each holds all of it and answers a part of the queries; with ``sharded`` each
    holds a part. With ``ray`` its rows are spread over a cluster and compared on the CPUs there.

    Raises IndexFormatError or IntegrityError if it is not sound; ClusterError if the cluster cannot be reached or has
    no room; UsageError for what does not apply to a cluster.
    """
    if ray is None:
        return indexes.open_gallery(
            folder_of(folder), backend_loading.index_backend(device, half=half, sharded=sharded)
        )
    if device not in ("auto", "cpu") or half or sharded:
        raise UsageError(
            "a gallery on a cluster is searched on CPUs, so no GPUs can be chosen with `ray`",
            hint="Leave out `device` and `half`, or leave out `ray`.",
        )
    from zsretrieve.cluster.shard_pool import Spread

    return indexes.open_gallery(folder_of(folder), cpu_backend(), Spread(ray))


def is_index(folder: PathLike) -> bool:
    """Whether a path is an index rather than a source of images. ``@NAME`` may be a file with a list of paths."""
    text = os.fspath(folder)
    listed = text.removeprefix(PREFIX)
    if listed != text and (os.sep in listed or (os.path.lexists(listed) and not os.path.isdir(listed))):
        return False
    return indexes.is_index(folder_of(folder))


def read_manifest(folder: PathLike) -> Manifest:
    """The manifest of an index, without opening it. Raises IndexFormatError if it is not sound."""
    return manifests.read(folder_of(folder))


def manifest_dict(manifest: Manifest) -> dict[str, Any]:
    """The content of the manifest's file, for JSON."""
    return manifests.to_dict(manifest)


def verify(folder: PathLike) -> list[str]:
    """Check every digest, count, norm and id of an index; the list of problems is empty when it is sound."""
    from zsretrieve.store import verify as _verify

    return [damage.message for damage in _verify.verify(folder_of(folder), cpu_backend()).damages]


def cpu_backend() -> IndexBackend:
    """What writes indexes: they are saved in their CPU form."""
    return backend_loading.index_backend("cpu")
