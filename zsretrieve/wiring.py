"""Which encoder, which index, which device: the only place that names the adapters.

Every adapter is imported when it is first needed, so that a command pays only for what it uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.encoders.metadata import provide
from zsretrieve.encoders.naming import DEFAULT_MODEL
from zsretrieve.errors import DeviceError, OptionalDependencyError
from zsretrieve.ports import Encoder, IndexBackend

if TYPE_CHECKING:
    from zsretrieve.encoders.registry import ModelInfo
    from zsretrieve.records import Encoding

__all__ = [
    "DEFAULT_MODEL",
    "automatic_encoding",
    "automatic_index_device",
    "describe_model",
    "identity_by_name",
    "index_backend",
    "known_models",
    "load_encoder",
    "provide",
]


def load_encoder(
    model: str = DEFAULT_MODEL, *, device: str = "auto", precision: str = "auto", batch_size: int | None = None
) -> Encoder:
    """Load a model. Parameters and errors are those of ``TorchEncoder``."""
    from zsretrieve.encoders.naming import parse_model_name

    parse_model_name(model)  # a malformed name is told before seconds are spent on imports
    try:
        from zsretrieve.encoders.torch_openclip import TorchEncoder
    except ImportError as error:
        raise OptionalDependencyError(
            f"the model engine cannot be imported: {error}", hint="Install zsretrieve again with its dependencies."
        ) from error
    return TorchEncoder(model, device=device, precision=precision, batch_size=batch_size)


def automatic_encoding() -> Encoding:
    """Engine, precision and device that ``auto`` chooses on this machine."""
    from zsretrieve.encoders.torch_openclip import automatic_encoding

    return automatic_encoding()


def automatic_index_device() -> str:
    """Device that ``auto`` gives an index on this machine."""
    from zsretrieve.backends.faiss_flat import FaissBackend

    return FaissBackend("auto", memory=_cache_folder).device


def index_backend(device: str = "auto", *, half: bool = False, sharded: bool = False) -> IndexBackend:
    """The FAISS backend. Parameters, errors and warnings are those of ``FaissBackend``."""
    from zsretrieve.backends.faiss_flat import FaissBackend

    try:
        return FaissBackend(device, half=half, sharded=sharded, memory=_cache_folder)
    except ImportError as error:  # it is imported only where there is a GPU
        raise OptionalDependencyError(
            f"FAISS cannot be imported: {error}",
            hint="Install one of faiss-gpu (Linux x86-64) and faiss-cpu (elsewhere), never both.",
        ) from error
    except DeviceError:
        # The model may run on a GPU that the installed FAISS does not know; the index then stays on the CPU.
        if device.partition(":")[0] != "cuda":
            raise
        return FaissBackend("cpu")


def identity_by_name(model: str) -> str | None:
    """What identifies the weights of a model, where its name alone tells; None where files must be read."""
    from zsretrieve.encoders.naming import parse_model_name, tag_identity

    return tag_identity(parse_model_name(model))


def known_models(search: str = "") -> list[ModelInfo]:
    """The pretrained models of open_clip's registry."""
    from zsretrieve.encoders import registry

    return registry.known_models(search)


def describe_model(name: str) -> dict[str, object]:
    """What is known of a model without loading its weights. Raises ModelNameError if there is none."""
    from zsretrieve.encoders.describe import describe

    return describe(name)


def _cache_folder() -> Path:
    from zsretrieve.encoders.cache import cache_folder

    return cache_folder()
