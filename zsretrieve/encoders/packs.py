"""How packs and models in transformers' layout run, and what of them is cached under which key."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.domain.errors import DeviceError, ModelNameError
from zsretrieve.domain.settings import INTEL, Compute, Engine, Precision
from zsretrieve.encoders.catalog.model_name import HUB, LOCAL, PACK, parse_model_name
from zsretrieve.system import hardware

if TYPE_CHECKING:
    from zsretrieve.encoders.catalog.pack import Pack


def settings(name: str | None, compute: Compute) -> Compute:
    """The settings that a model runs with: packs and models in transformers' layout in OpenVINO, also with a GPU.

    Raises DeviceError if such a model cannot run as the settings say.
    """
    pack, theirs = _is_pack(name), _is_transformers(name)
    if not pack and not theirs:
        return compute
    given = {
        f"`engine` {compute.engine}": compute.engine is Engine.TORCH,
        f"`device` {compute.device}": compute.device not in ("auto", "cpu", *INTEL),
        "`compile`": compute.compile,
    }
    for option in (option for option, is_given in given.items() if is_given):
        what = "is a pack, which runs" if pack else "is in transformers' layout, which runs from its weights alone,"
        other = "use a model in open_clip's layout."
        if pack:
            other = f"use the model that the pack was made from: zsretrieve models show {name}"
        raise DeviceError(
            f"'{name}' {what} in OpenVINO on the CPU, not with {option}",
            hint=f"Leave out {option}, or {other}",
        )
    return replace(compute, engine=Engine.OPENVINO)


def only_precision(name: str | None) -> Precision | None:
    """The only precision that a model has: bf16 if it is a pack of rounded weights, else None.

    Raises ModelNameError or WeightsUnavailableError if a pack cannot be read.
    """
    pack = _pack(name)
    return Precision.BF16 if pack is not None and pack.precision is Precision.BF16 else None


def cache_key(name: str | None, compute: Compute) -> str:
    """What decides how texts and images are encoded here, besides the weights.

    Settings that amount to the same have different keys, since resolving them may need an import of torch. Packs have
    keys of their own, since they only say whose weights they hold, and may hold them rounded.

    Raises ModelNameError or WeightsUnavailableError if a pack cannot be read, and DeviceError as ``settings`` does.
    """
    compute, gpu = settings(name, compute), "with" if hardware.torch_may_have_gpu() else "without"
    key = f"{compute.engine}, {compute.precision}, {compute.device} on {hardware.cpu_name()} {gpu} a GPU"
    pack = _pack(name)
    return key if pack is None else f"{key}, pack {pack.digest}"


def _pack(name: str | None) -> Pack | None:
    if name is None or not _is_pack(name):
        return None
    from zsretrieve.encoders.catalog.pack import read_pack

    return read_pack(Path(parse_model_name(name).rest))


def _is_transformers(name: str | None) -> bool:
    if name is None or not name.startswith((LOCAL, HUB)):
        return False
    from zsretrieve.encoders.catalog.layouts import is_transformers

    with contextlib.suppress(ModelNameError):  # an index may name a model that is no longer here
        return is_transformers(parse_model_name(name))
    return False


def _is_pack(name: str | None) -> bool:
    return name is not None and name.startswith(PACK)
