"""Calibrating a model's int8 picture tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zsretrieve import wiring
from zsretrieve.errors import SourceError
from zsretrieve.sources import Source
from zsretrieve.verbs.ahead import Reading
from zsretrieve.verbs.sampling import sample

if TYPE_CHECKING:
    from zsretrieve.encoders.calibrated import Quantised

_CALIBRATED_ON, _MEASURED_ON = 300, 100
_LEAST_PICTURES = 16


def calibrate(
    model: str,
    source: Source,
    *,
    exif: bool = True,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    force: bool = False,
    anew: bool = True,
) -> Quantised:
    """Calibrate a model's int8 picture tower on up to 300 pictures of a source, and measure it on up to 100 others.

    It is kept with the converted model, and used by ``precision="int8"`` from then on.

    Parameters
    ----------
    model : str
    source : Source
    exif, max_pixels, fast_decode
        As for ``build_gallery``: it should see pictures as they will be encoded.
    force : bool
        Keep it although it loses more than it should.
    anew : bool
        Calibrate although there is a calibration by now; otherwise that one is given.

    Raises
    ------
    SourceError
        If too few pictures can be read.
    OptionalDependencyError, ConversionError, CacheError
        See ``zsretrieve.encoders.quantising.calibrate``.
    """
    wiring.check_int8()
    _refuse_few(model, len(source.files))
    encoder = wiring.load_encoder(model, device="cpu", engine="openvino", precision="fp32")
    reading = Reading(exif, max_pixels=max_pixels, fast=fast_decode)
    pictures = sample(source, encoder, reading, _CALIBRATED_ON + _MEASURED_ON)
    _refuse_few(model, len(pictures))
    measured = max(1, min(_MEASURED_ON, len(pictures) // 4))
    # Every so many are held out, so that both parts are of the whole source.
    held_out = set(np.linspace(0, len(pictures) - 1, measured).round().astype(int).tolist())
    others = [one for place, one in enumerate(pictures) if place in held_out]
    own = [one for place, one in enumerate(pictures) if place not in held_out]
    return wiring.quantise(model, own, others, force=force, anew=anew)


def check_runs_int8(*, device: str = "auto", engine: str = "auto") -> None:
    """Raise DeviceError if int8 is asked for elsewhere than in OpenVINO on the CPU; tells early what would fail late.

    Parameters
    ----------
    device, engine : str
        As for ``load_encoder``.
    """
    wiring.check_runs_int8(device, engine)


def is_calibrated(model: str) -> bool:
    """Whether a model has its int8 picture tower."""
    return wiring.is_quantised(model)


def _refuse_few(model: str, count: int) -> None:
    if count < _LEAST_PICTURES:
        raise SourceError(
            f"int8 needs {_LEAST_PICTURES} pictures to be calibrated on, and {count} can be read",
            hint=f"Calibrate on more: zsretrieve models export {model} --int8 FOLDER; or use --precision bf16.",
        )
