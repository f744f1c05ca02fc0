"""Models, and what is known of them before they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve import wiring
from zsretrieve.errors import SpaceMismatchError
from zsretrieve.ports import Encoder, MakeEncoder, PromptMemory
from zsretrieve.records import Encoding, Space

if TYPE_CHECKING:
    from zsretrieve.encoders.converted import CacheEntry
    from zsretrieve.encoders.published import PublishedModel


def load_encoder(
    model: str = wiring.DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    batch_size: int | None = None,
    compiled: bool = False,
) -> Encoder:
    """Load a model.

    Parameters
    ----------
    model : str
        ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``local-dir:PATH``, ``ARCH/CHECKPOINT`` or ``demo``.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N``, several GPUs (``cuda:0,cuda:1``) or ``cuda:all``.
    precision : str
        ``auto`` (bf16 where the hardware has it, else fp32), ``fp32``, ``bf16`` or, once it is calibrated, ``int8``.
        What is not calibrated encodes texts alone, which ``int8`` leaves as they are.
    engine : str
        ``auto`` (torch on a GPU, OpenVINO on the CPU), ``torch`` or ``openvino``. A model is converted for OpenVINO
        when it is first used, and kept in the user's cache folder.
    batch_size : int, optional
        Pictures a batch.
    compiled : bool
        Run the picture tower of the torch engine through ``torch.compile``: a minute that pays in long jobs on a GPU.

    Raises
    ------
    ModelNameError
        If there is no such model.
    WeightsUnavailableError
        If its weights cannot be had.
    DeviceError
        If the device or precision is not there, or the engine does not do what is asked.
    OptionalDependencyError
        If the package of the engine cannot be imported.
    """
    return wiring.load_encoder(
        model, device=device, precision=precision, engine=engine, batch_size=batch_size, compiled=compiled
    )


def check_compiling(*, precision: str = "auto", engine: str = "auto") -> None:
    """Raise DeviceError if ``load_encoder`` with these would not take ``compiled``."""
    wiring.check_compiling(precision=precision, engine=engine)


def export_model(model: str = wiring.DEFAULT_MODEL, *, force: bool = False) -> Path:
    """Convert a model for the CPU engine now, rather than when it is first used; the folder that holds it.

    ``force`` converts it again although it is there; an int8 picture tower that belongs to it is deleted then.

    Raises
    ------
    ModelNameError, WeightsUnavailableError
        See ``load_encoder``.
    ConversionError
        If it does not convert; the message says why.
    CacheError
        If the cache folder cannot be written.
    """
    return wiring.export_model(model, force=force).folder


def cached_models() -> list[CacheEntry]:
    """The converted models in the user's cache folder, the oldest first."""
    return wiring.cached_models()


def remembered_queries() -> tuple[int, int]:
    """How many vectors of queries are kept in the cache folder, and their bytes on the disk."""
    return wiring.remembered_queries()


def remembered_prompts() -> tuple[int, int]:
    """How many vectors of prompts are kept in the cache folder, and their bytes on the disk."""
    return wiring.remembered_prompts()


def clear_cache(model: str | None = None) -> list[CacheEntry]:
    """Delete the converted models of a name, or all, and with all the vectors of queries and prompts; the models
    deleted.

    A model's are those listed under its name, as it is written or as a passport has it, and the one that it would use
    now, which a copy of it in another folder may have been the first to want.

    Raises
    ------
    ModelNameError
        If there is none of that name.
    CacheError
        If it cannot be deleted.
    """
    return wiring.clear_cached_models(model)


def published_models(search: str = "", *, by: str = "gflop") -> list[PublishedModel]:
    """What is published of the models people use: size, cost, ImageNet zero-shot Prec@1, licence, with sources.

    None of the figures was measured by this project; docs/models.md says what they mean.

    Parameters
    ----------
    search : str
        Words that the names must hold.
    by : str
        ``top1`` (the most accurate first), ``gflop`` (operations of the picture tower), ``params``, image ``size`` (the
        least first) or ``name``. What is unknown comes last.
    """
    return wiring.published_models(search, by=by)


def check_model(model: str, space: Space) -> bool:
    """Compare a model's weights with those of a space, before anything is loaded or fetched.

    Returns
    -------
    bool
        True if they are the same; False for a model of the hub that is not fetched yet, of which loading will tell.

    Raises
    ------
    SpaceMismatchError
        If they are others.
    ModelNameError, WeightsUnavailableError
        If the name, or the files of a model on disk, cannot be read.
    """
    identity = wiring.known_identity(model)
    if identity is None:
        return False
    if identity != space.weights:
        raise SpaceMismatchError(
            f"the index is of the space of '{space.model}', not of '{model}'",
            hint=f"Leave out --model, or build the index again with --model {model}",
        )
    return True


def precision_of_queries(encoding: Encoding) -> str:
    """The precision of a query where none is asked for: fp32 among vectors of fp32, so that scores are exact; else
    ``auto``.
    """
    return "fp32" if encoding.precision in ("fp32", "float32") else "auto"


def remembering(
    space: Space, load: MakeEncoder, *, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> Encoder:
    """An encoder for searches that keeps the vectors of texts in the user's cache folder.

    Parameters
    ----------
    space : Space
        That of the gallery to search.
    load : callable
        Gives the encoder itself, by ``load_encoder`` with these same arguments; called when a text is not there.
    device, precision, engine : str
    """
    return wiring.remembering(space, load, device=device, precision=precision, engine=engine)


def prompt_memory(
    space: Space, *, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> PromptMemory | None:
    """What the user's cache folder keeps of prompts that ``load_encoder`` with these arguments encoded.

    Parameters
    ----------
    space : Space
        That of the gallery.
    device, precision, engine : str
    """
    return wiring.prompt_memory(space, device=device, precision=precision, engine=engine)
