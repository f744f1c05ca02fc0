"""The index backend for a device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zsretrieve.domain.errors import MissingGpuError, OptionalDependencyError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.settings import INTEL
from zsretrieve.system import extras, hardware

if TYPE_CHECKING:
    from pathlib import Path

    from zsretrieve.backends.faiss_flat import FaissBackend

_log = logging.getLogger("zsretrieve")


def automatic_index_device() -> str:
    """The device that ``auto`` selects for indexes on this machine."""
    return _faiss_backend("auto").device


def index_backend(device: str = "auto", *, half: bool = False, sharded: bool = False) -> IndexBackend:
    """The FAISS backend. Parameters and errors: see ``FaissBackend``, but if FAISS is not installed, or sees fewer GPUs
    than are named, it logs that and keeps indexes on the CPU. Devices that only models run on leave them there, too.
    """
    if device == "mps" or device in INTEL:
        device = "cpu"
    if device not in ("auto", "cpu") and not extras.has_faiss():
        # The model may run on the GPU all the same.
        _log.warning(f"FAISS is not installed. The index stays on the CPU. To add it: {extras.how_to_add('gpu')}")
        device = "cpu"
    try:
        return _faiss_backend(device, half=half, sharded=sharded)
    except ImportError as error:  # FAISS is imported only if there may be a GPU
        raise OptionalDependencyError(
            f"FAISS cannot be imported: {error}", hint="For a fix, run: zsretrieve doctor"
        ) from error
    except MissingGpuError as error:
        # The model may run on a GPU that the installed FAISS does not support.
        _log.warning(f"{error.message}. The index stays on the CPU. For a fix, run: zsretrieve doctor")
        return _faiss_backend("cpu")


def _faiss_backend(device: str, *, half: bool = False, sharded: bool = False) -> FaissBackend:
    from zsretrieve.backends.faiss_flat import FaissBackend

    if device == "auto" and not (hardware.may_have_gpu() and extras.has_faiss()):
        device = "cpu"  # without importing FAISS
    return FaissBackend(device, half=half, sharded=sharded, cache=_cache_folder)


def _cache_folder() -> Path:
    from zsretrieve.system.cache_dir import cache_folder

    return cache_folder()
