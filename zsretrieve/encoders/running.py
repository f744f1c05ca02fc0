"""The encoder of a model, by the engine that suits the machine.

Every engine is imported when it is first needed, so that a command pays only for what it uses.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace

from zsretrieve.domain.errors import CacheError, DeviceError, OptionalDependencyError
from zsretrieve.domain.ports import Encoder, OnStage
from zsretrieve.domain.settings import INTEL, Compute, Engine, Precision
from zsretrieve.encoders import packs
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm, parse_model_name
from zsretrieve.encoders.choosing import check_installed, engine
from zsretrieve.system import extras, hardware

_log = logging.getLogger("zsretrieve")


def load_encoder(name: str, compute: Compute, on_stage: OnStage | None = None) -> Encoder:
    """The encoder of a model, on a device that is known to work. Raises as ``Model.load`` does."""
    from zsretrieve.encoders.openvino import model_cache

    parsed = replace(parse_model_name(name), trusted=compute.trust_remote_code)
    check_installed(parsed, compute)
    if parsed.form is NameForm.CLASSIFIER:
        return _features(parsed, compute)
    if parsed.pack is None and model_cache.find(parsed) is None:
        from zsretrieve.encoders.catalog.availability import check_available

        check_available(parsed)  # before torch is imported, which takes long
    if parsed.form is NameForm.HUB and engine(compute) is Engine.TORCH:
        _fetch_configuration(parsed)  # which says whether it can run in torch
        compute = packs.settings(parsed.written, compute)
    if engine(compute) is Engine.OPENVINO:
        encoder = _openvino_encoder(parsed, compute, on_stage)
        if encoder is not None:
            return encoder
    extras.require_models(f"running '{parsed.written}'")
    try:
        from zsretrieve.encoders.torch.encoder import TorchEncoder, torch_devices
    except ImportError as error:
        raise OptionalDependencyError(
            f"the model engine cannot be imported: {error}", hint="For a fix, run: zsretrieve doctor"
        ) from error
    encoders = [
        TorchEncoder(parsed.written, replace(compute, device=device)) for device in torch_devices(compute.device)
    ]
    if len(encoders) == 1:
        return encoders[0]
    from zsretrieve.encoders.torch.data_parallel import Replicas

    return Replicas(encoders)


def _fetch_configuration(name: ModelName) -> None:
    """Fetch the configuration of a hub model if the hub can be reached; loading says what is wrong with it."""
    from zsretrieve.encoders.catalog.files import hub_config
    from zsretrieve.encoders.catalog.hub import offline_if_unreachable

    with offline_if_unreachable(), contextlib.suppress(OSError, ValueError):
        hub_config(name.rest)


def _features(name: ModelName, compute: Compute) -> Encoder:
    """The features of a classifier, which always run in torch, on the first of several GPUs."""
    if compute.engine is Engine.OPENVINO or compute.precision is Precision.INT8:
        raise DeviceError(f"'{name.written}' is a classifier and runs in torch", hint="Use `engine` torch.")
    from zsretrieve.encoders.torch.encoder import torch_devices
    from zsretrieve.encoders.torch.supervised import load_features

    return load_features(name, replace(compute, device=torch_devices(compute.device)[0]))


def _openvino_encoder(name: ModelName, compute: Compute, on_stage: OnStage | None) -> Encoder | None:
    """The encoder; None, after a warning, if torch must take its place."""
    fix = ""
    try:
        from zsretrieve.encoders.openvino.conversion import find_or_convert

        model = find_or_convert(name, on_stage)
        if model.failure is None:
            from zsretrieve.encoders.openvino import int8_cache
            from zsretrieve.encoders.openvino.encoder import OpenVinoEncoder

            tower = int8_cache.find(model) if compute.precision is Precision.INT8 else None
            if tower is not None and not hardware.cpu_has_int8():
                _log.warning("this processor has no instructions for int8 (VNNI): fp32 is faster")
            encoder = OpenVinoEncoder(model, compute, int8_tower=tower)
            if compute.precision is Precision.BF16 and encoder.text_encoding.precision != Precision.BF16:
                _log.warning("this processor cannot compute in bf16; using fp32")
            return encoder
        reason = f"OpenVINO does not convert {name.written} ({model.failure})"
    except ImportError as error:
        reason = f"OpenVINO cannot be imported ({error})"
    except CacheError as error:
        reason, fix = error.message, error.hint or fix
    if compute.engine is Engine.OPENVINO or compute.precision is Precision.INT8 or compute.device in INTEL:
        other = (
            "Use `precision` bf16." if compute.precision is Precision.INT8 else "Use `engine` torch and `device` auto."
        )
        raise DeviceError(reason, hint=fix or other)
    if not extras.has_models():
        raise DeviceError(reason, hint=fix or f"Run: {extras.how_to_add('models')}")
    _log.warning(f"{reason}; using torch instead, which is slower{f'. {fix}' if fix else ''}")
    return None
