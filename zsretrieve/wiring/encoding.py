"""Which engine encodes, on which device and in which precision."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from zsretrieve.encoders import gpus
from zsretrieve.encoders.naming import DEFAULT_MODEL, parse_model_name
from zsretrieve.encoders.precision import PRECISIONS, cpu_best, cpu_name
from zsretrieve.errors import CacheError, DeviceError, OptionalDependencyError
from zsretrieve.ports import Encoder, MakeEncoder, PromptMemory
from zsretrieve.records import Encoding
from zsretrieve.wiring.models import converted_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsretrieve.encoders.naming import ModelName
    from zsretrieve.records import Space

ENGINES = ("auto", "torch", "openvino")
INT8 = "int8"

_log = logging.getLogger("zsretrieve")


def load_encoder(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    batch_size: int | None = None,
    compiled: bool = False,
) -> Encoder:
    """Load a model, once for each GPU that is named.

    Parameters
    ----------
    model, device, precision, batch_size, compiled
        See ``TorchEncoder``; several GPUs are named ``cuda:0,cuda:1`` or ``cuda:all``.
    engine : str
        ``torch``, ``openvino`` (on the CPU), or ``auto``: OpenVINO where there is no GPU, torch for models that it
        does not convert.

    Raises
    ------
    ModelNameError, WeightsUnavailableError, DeviceError
        See ``TorchEncoder``; DeviceError also if the engine does not do what is asked.
    OptionalDependencyError
        If the package of the engine cannot be imported.
    """
    name = parse_model_name(model)  # a malformed name is told before seconds are spent on imports
    if compiled:
        check_compiling(precision=precision, engine=engine)
    if precision == INT8:
        check_runs_int8(device, engine)
    engine = _only_engine(engine, precision, compiled=compiled)
    if _engine(engine, device) == "openvino":
        encoder = _openvino_encoder(name, engine, precision, batch_size)
        if encoder is not None:
            return encoder
    try:
        from zsretrieve.encoders.torch_openclip import TorchEncoder, torch_devices
    except ImportError as error:
        raise OptionalDependencyError(
            f"the model engine cannot be imported: {error}", hint="Install zsretrieve again with its dependencies."
        ) from error
    made = [
        TorchEncoder(model, device=one, precision=precision, batch_size=batch_size, compiled=compiled)
        for one in torch_devices(device)
    ]
    if len(made) == 1:
        return made[0]
    from zsretrieve.encoders.replicas import Replicas

    return Replicas(made)


def planned_encoding(device: str = "auto", precision: str = "auto", engine: str = "auto") -> Encoding:
    """Engine, precision and device that these become on this machine, for a model that converts."""
    if _engine(_only_engine(engine, precision), device) == "openvino":
        return Encoding("openvino", _cpu_precision(precision), "cpu")
    from zsretrieve.encoders.torch_openclip import planned_encoding, torch_devices

    planned = [planned_encoding(one, precision) for one in torch_devices(device)]
    return replace(planned[0], device=",".join(one.device for one in planned))


def check_compiling(*, precision: str = "auto", engine: str = "auto") -> None:
    """Raise DeviceError if these leave the model to another engine than torch, which alone has ``torch.compile``."""
    if engine == "openvino":
        raise DeviceError(
            "the engine openvino does not run through torch.compile",
            hint="Leave out --compile, or use --engine torch.",
        )
    if precision == INT8:
        raise DeviceError(
            "int8 runs in OpenVINO, and not through torch.compile",
            hint="Leave out --compile, or use another --precision.",
        )


def check_runs_int8(device: str = "auto", engine: str = "auto") -> None:
    """Raise DeviceError if int8 is asked for elsewhere than in OpenVINO on the CPU."""
    if engine not in ("auto", "openvino"):
        raise DeviceError(
            f"int8 runs in openvino on the CPU, not in '{engine}'", hint="Leave out --engine, or use --precision bf16."
        )
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"int8 runs in openvino on the CPU, not on '{device}'", hint="Leave out --device, or use --precision bf16."
        )


def automatic_encoding() -> Encoding:
    """Engine, precision and device that ``auto`` chooses on this machine. Raises ImportError if it cannot run."""
    planned = planned_encoding()
    if planned.engine == "openvino":
        from zsretrieve.encoders import openvino_runtime  # noqa: F401  (whether it can be imported is the question)
    return planned


def remembering(
    space: Space, load: MakeEncoder, *, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> Encoder:
    """An encoder for searches in a space that loads the model only for texts that were not searched for lately.

    Parameters
    ----------
    space : Space
    load : callable
        Gives the encoder that these ask for.
    device, precision, engine
        As for ``load_encoder``.
    """
    try:
        from zsretrieve.encoders.remembered import RememberingEncoder
    except ImportError:  # a Python that was built without SQLite
        return load()

    return RememberingEncoder(space, _asked(device, precision, engine), load, _as_planned(device, precision, engine))


def prompt_memory(
    space: Space, *, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> PromptMemory | None:
    """The vectors of prompts that such an encoder gave before; None with a Python that was built without SQLite.

    Parameters
    ----------
    space : Space
    device, precision, engine
        As for ``load_encoder``.
    """
    try:
        from zsretrieve.encoders.remembered import RememberedPrompts
    except ImportError:
        return None
    return RememberedPrompts(space, _asked(device, precision, engine), _as_planned(device, precision, engine))


def _as_planned(device: str, precision: str, engine: str) -> Callable[[Encoding], bool]:
    """Whether vectors were computed as these are meant to be on this machine."""

    def check(encoding: Encoding) -> bool:
        # What OpenVINO was to do, and torch did in its place, would be taken for OpenVINO's when that works again.
        planned = planned_encoding(device, precision, engine)
        # Of several GPUs the first one encodes the texts.
        return (encoding.engine, encoding.device) == (planned.engine, planned.device.split(",")[0])

    return check


def _asked(device: str, precision: str, engine: str) -> str:
    """What decides how texts are encoded here. Words that mean the same are kept apart: what they become may take
    torch to find out.
    """
    gpu = "with" if gpus.there_may_be_one() else "without"
    return f"{engine}, {precision}, {device} on {cpu_name()} {gpu} a GPU"


def _only_engine(engine: str, precision: str, *, compiled: bool = False) -> str:
    """``auto`` as the one engine that does what is asked, where only one does."""
    if engine == "auto" and precision == INT8:
        return "openvino"
    if engine == "auto" and compiled:
        return "torch"
    return engine


def _engine(engine: str, device: str) -> str:
    if engine not in ENGINES:
        raise DeviceError(f"'{engine}' is not an engine", hint=f"Use {', '.join(ENGINES)}.")
    if device.startswith("cpu:"):  # torch takes it, and it would mean another engine than cpu
        raise DeviceError(f"'{device}' is not a device", hint="Use cpu, which takes all of its cores.")
    on_cpu = device == "cpu" or (device == "auto" and not gpus.torch_has_one())
    if engine == "openvino" and device != "auto" and not on_cpu:
        raise DeviceError(
            f"the engine openvino runs on the CPU, not on '{device}'", hint="Leave out --engine, or use --device cpu."
        )
    if engine == "auto":
        return "openvino" if on_cpu else "torch"
    return engine


def _openvino_encoder(name: ModelName, engine: str, precision: str, batch_size: int | None) -> Encoder | None:
    """The encoder, or None, with a line that says why, if torch must do it."""
    resolved, mend = _cpu_precision(precision), ""
    try:
        made = converted_model(name)
        if made.failure is None:
            from zsretrieve.encoders import calibrated
            from zsretrieve.encoders.openvino_engine import OpenVinoEncoder

            small = calibrated.find(made) if resolved == INT8 else None
            return OpenVinoEncoder(made, precision=resolved, batch_size=batch_size, quantised=small)
        why = f"OpenVINO does not convert {name.written} ({made.failure})"
    except ImportError as error:
        why = f"OpenVINO cannot be imported ({error})"
    except CacheError as error:
        why, mend = error.message, error.hint or mend
    if engine == "openvino":
        raise DeviceError(why, hint=mend or ("Use --precision bf16." if precision == INT8 else "Use --engine torch."))
    _log.warning(f"{why}; torch is used instead, which is slower{f'. {mend}' if mend else ''}")
    return None


def _cpu_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise DeviceError(f"'{precision}' is not a precision", hint=f"Use {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    return cpu_best()
