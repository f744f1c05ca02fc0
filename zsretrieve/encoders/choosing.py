"""Which engine, precision and device a model gets here, and whether what it needs is installed."""

from __future__ import annotations

import functools
from dataclasses import replace

from zsretrieve.domain.records import Encoding
from zsretrieve.domain.settings import INTEL, Compute, Engine, Precision
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm
from zsretrieve.system import extras, hardware


def planned_encoding(compute: Compute | None = None) -> Encoding:
    """The engine, precision and device to expect on this machine, for a model that OpenVINO can run."""
    compute = compute or Compute()
    if engine(compute) is Engine.OPENVINO:
        return Encoding(Engine.OPENVINO, openvino_precision(compute), openvino_device(compute))
    extras.require_models(_asking_for_torch(compute))
    from zsretrieve.encoders.torch.encoder import planned_encoding, torch_devices

    each = [planned_encoding(replace(compute, device=device)) for device in torch_devices(compute.device)]
    return replace(each[0], device=",".join(encoding.device for encoding in each))


def automatic_encoding() -> Encoding:
    """The engine, precision and device that ``auto`` chooses on this machine. Raises ImportError if they cannot run."""
    planned = planned_encoding()
    if planned.engine == Engine.OPENVINO:
        from zsretrieve.encoders.openvino import runtime  # noqa: F401  (raises if it is not installed)
    return planned


def openvino_device(compute: Compute) -> str:
    """The device that OpenVINO encodes images on."""
    return compute.device if compute.device in INTEL else "cpu"


def openvino_precision(compute: Compute) -> Precision:
    """The precision that OpenVINO computes in."""
    if compute.precision is not Precision.AUTO:
        return compute.precision
    return Precision.FP16 if compute.device in INTEL else hardware.cpu_best()


def check_installed(name: ModelName, compute: Compute) -> None:
    """See ``zsretrieve.encoders.loading.Model.check_installed``."""
    if name.form is NameForm.CLASSIFIER:
        extras.require_models(f"'{name.written}'")
    elif engine(compute) is Engine.TORCH:
        extras.require_models(_asking_for_torch(compute))
    else:
        from zsretrieve.encoders.openvino import conversion

        conversion.check_installed(name)


def _asking_for_torch(compute: Compute) -> str:
    """The option that chooses torch."""
    if compute.engine is Engine.TORCH:
        return "`engine` torch"
    return "`compile`" if compute.compile else f"`device` {compute.device}"


def engine(compute: Compute) -> Engine:
    """The engine to use; ``auto`` becomes the one that suits the rest and this machine."""
    if compute.engine is not Engine.AUTO:
        return compute.engine
    if compute.precision is Precision.INT8 or compute.device in INTEL:
        return Engine.OPENVINO
    if compute.compile:
        return Engine.TORCH
    on_cpu = compute.device == "cpu" or (compute.device == "auto" and not _torch_has_gpu())
    return Engine.OPENVINO if on_cpu else Engine.TORCH


@functools.cache
def _torch_has_gpu() -> bool:
    """Whether models can run on a GPU, in torch, which is imported only where there may be one."""
    if not (hardware.torch_may_have_gpu() and extras.has_models()):
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
