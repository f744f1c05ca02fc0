"""The index kinds of galleries."""

from __future__ import annotations

from zsretrieve.api.indexes import cpu_backend
from zsretrieve.domain.kind_choice import demands_of
from zsretrieve.domain.kinds import FLAT, spelt
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import Manifest, PathLike
from zsretrieve.gallery import kinds as _kinds
from zsretrieve.store.named import folder_of
from zsretrieve.system import extras


def set_index_kind(
    gallery: PathLike,
    kind: str,
    *,
    memory: int | str | None = None,
    recall: float | None = None,
    on_stage: OnStage | None = None,
) -> Manifest:
    """Give a gallery another index kind; returns its manifest.

    Parameters
    ----------
    gallery : path
    kind : str
        ``Flat``, which compares every image; a FAISS factory string such as ``HNSW32`` or ``IVF1024,PQ128x4fsr``, whose
        candidates are compared exactly; or ``auto``, which chooses by the number of images, the memory, the recall and
        whether exact searches run on a GPU. With the kind that the gallery has, its index is made again.
    memory : int or str, optional
        Bytes, or a text such as ``8GB``: the index is made within that, perhaps in several parts, and is not larger.
        Later parts keep to it.
    recall : float, optional
        With ``auto``: the share of the ten best images for a text that searches should find, 0.95 by default.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OptionalDependencyError
        If the kind is not ``Flat`` and FAISS is not installed.
    UsageError
        If the kind is not supported, does not fit the dimensions or the memory, or the gallery is too small for it.
    IndexFormatError, IntegrityError, IndexFolderError
        If the gallery is not sound, or cannot be written.
    """
    kind = spelt(kind)
    demands = demands_of(kind, memory, recall)
    if kind != FLAT:
        extras.require_faiss(f"the index kind '{kind}'")
    return _kinds.set_kind(folder_of(gallery), kind, cpu_backend(), demands, on_stage)
