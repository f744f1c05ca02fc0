"""Which index, on which device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zsretrieve.encoders import gpus
from zsretrieve.errors import MissingGpuError, OptionalDependencyError
from zsretrieve.ports import IndexBackend

if TYPE_CHECKING:
    from pathlib import Path

    from zsretrieve.backends.faiss_flat import FaissBackend

_log = logging.getLogger("zsretrieve")


def automatic_index_device() -> str:
    """Device that ``auto`` gives an index on this machine."""
    return _faiss_backend("auto").device


def index_backend(device: str = "auto", *, half: bool = False, sharded: bool = False) -> IndexBackend:
    """The FAISS backend. Parameters and errors are those of ``FaissBackend``, but where FAISS sees fewer GPUs than
    are named, that is logged and indexes stay on the CPU.
    """
    try:
        return _faiss_backend(device, half=half, sharded=sharded)
    except ImportError as error:  # it is imported only where there may be a GPU
        raise OptionalDependencyError(
            f"FAISS cannot be imported: {error}",
            hint="Install one of faiss-gpu (Linux x86-64) and faiss-cpu (elsewhere), never both.",
        ) from error
    except MissingGpuError as error:
        # The model may run on a GPU that the installed FAISS does not know.
        _log.warning(f"{error.message}, so the index stays on the CPU; what mends it is told by: zsretrieve doctor")
        return _faiss_backend("cpu")


def _faiss_backend(device: str, *, half: bool = False, sharded: bool = False) -> FaissBackend:
    from zsretrieve.backends.faiss_flat import FaissBackend

    if device == "auto" and not gpus.there_may_be_one():
        device = "cpu"  # which FAISS need not be asked, nor imported
    return FaissBackend(device, half=half, sharded=sharded, memory=_cache_folder)


def _cache_folder() -> Path:
    from zsretrieve.encoders.cache import cache_folder

    return cache_folder()
