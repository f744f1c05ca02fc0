"""Models, and what is known of them before they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zsretrieve import wiring
from zsretrieve.errors import SourceError, SpaceMismatchError
from zsretrieve.ports import Encoder
from zsretrieve.records import Space
from zsretrieve.sources import Source
from zsretrieve.verbs.encode import Reading
from zsretrieve.verbs.sampling import sample

if TYPE_CHECKING:
    from zsretrieve.encoders.converted import CacheEntry, Quantised

_CALIBRATED_ON, _MEASURED_ON = 300, 100
_LEAST_PICTURES = 16


def load_encoder(
    model: str = wiring.DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    batch_size: int | None = None,
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
    engine : str
        ``auto`` (torch on a GPU, OpenVINO on the CPU), ``torch`` or ``openvino``. A model is converted for OpenVINO
        when it is first used, and kept in the user's cache folder.
    batch_size : int, optional
        Pictures a batch.

    Raises
    ------
    ModelNameError
        If there is no such model.
    WeightsUnavailableError
        If its weights cannot be had.
    DeviceError
        If the device or precision is not there.
    """
    return wiring.load_encoder(model, device=device, precision=precision, engine=engine, batch_size=batch_size)


def export_model(model: str = wiring.DEFAULT_MODEL, *, force: bool = False) -> Path:
    """Convert a model for the CPU engine now, rather than when it is first used; the folder that holds it.

    ``force`` converts it again although it is there.

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


def calibrate(
    model: str, source: Source, *, exif: bool = True, max_pixels: int | None = None, force: bool = False
) -> Quantised:
    """Calibrate a model's int8 picture tower on up to 300 pictures of a source, and measure it on up to 100 others.

    It is kept with the converted model, and used by ``precision="int8"`` from then on.

    Parameters
    ----------
    model : str
    source : Source
    exif, max_pixels
        See ``Reading``.
    force : bool
        Keep it although it loses more than it should.

    Raises
    ------
    SourceError
        If too few pictures can be read.
    OptionalDependencyError, ConversionError, CacheError
        See ``zsretrieve.encoders.quantising.calibrate``.
    """
    wiring.check_int8()
    encoder = wiring.load_encoder(model, device="cpu", engine="openvino", precision="fp32")
    reading = Reading(exif, max_pixels=max_pixels)
    pictures = sample(source, encoder, reading, _CALIBRATED_ON + _MEASURED_ON)
    if len(pictures) < _LEAST_PICTURES:
        raise SourceError(
            f"int8 needs {_LEAST_PICTURES} pictures to be calibrated on, and {len(pictures)} can be read",
            hint="Calibrate it on a larger folder: zsretrieve models export MODEL --int8 FOLDER, or use bf16.",
        )
    measured = max(1, min(_MEASURED_ON, len(pictures) // 4))
    # Every so many are held out, so that both parts are of the whole source.
    held_out = set(np.linspace(0, len(pictures) - 1, measured).round().astype(int).tolist())
    others = [one for place, one in enumerate(pictures) if place in held_out]
    own = [one for place, one in enumerate(pictures) if place not in held_out]
    return wiring.quantise(model, own, others, force=force)


def is_calibrated(model: str) -> bool:
    """Whether a model has its int8 picture tower."""
    return wiring.is_quantised(model)


def cached_models() -> list[CacheEntry]:
    """The converted models in the user's cache folder, the oldest first."""
    return wiring.cached_models()


def clear_cache(model: str | None = None) -> list[CacheEntry]:
    """Delete the converted models of a name, or all; what was deleted. Raises CacheError."""
    return wiring.clear_cached_models(model)


def check_model(model: str, space: Space) -> None:
    """Raise SpaceMismatchError, before anything is loaded or fetched, if the model's name alone rules it out."""
    identity = wiring.identity_by_name(model)
    if identity is not None and identity != space.weights:
        raise SpaceMismatchError(
            f"the index is of the space of '{space.model}', not of '{model}'",
            hint=f"Leave out --model, or build the index again with --model {model}",
        )
