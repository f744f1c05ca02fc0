"""Which encoder, which index, which device: the only place that names the adapters.

Every adapter is imported when it is first needed, so that a command pays only for what it uses.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from zsretrieve.encoders import gpus
from zsretrieve.encoders.metadata import provide
from zsretrieve.encoders.naming import DEFAULT_MODEL, parse_model_name
from zsretrieve.encoders.precision import PRECISIONS, cpu_best, cpu_name
from zsretrieve.errors import CacheError, ConversionError, DeviceError, MissingGpuError, OptionalDependencyError
from zsretrieve.ports import Encoder, IndexBackend, MakeEncoder, Pixels
from zsretrieve.records import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from zsretrieve.backends.faiss_flat import FaissBackend
    from zsretrieve.encoders.calibrated import Quantised
    from zsretrieve.encoders.converted import CacheEntry, Converted
    from zsretrieve.encoders.naming import ModelName
    from zsretrieve.encoders.registry import ModelInfo
    from zsretrieve.records import Space

__all__ = [
    "DEFAULT_MODEL",
    "automatic_encoding",
    "automatic_index_device",
    "cached_models",
    "check_compiling",
    "check_int8",
    "check_runs_int8",
    "clear_cached_models",
    "describe_model",
    "export_model",
    "index_backend",
    "is_quantised",
    "known_identity",
    "known_models",
    "load_encoder",
    "planned_encoding",
    "provide",
    "quantise",
    "remembered_queries",
    "remembering",
]

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

    def as_planned(encoding: Encoding) -> bool:
        # What OpenVINO was to do, and torch did in its place, would be taken for OpenVINO's when that works again.
        planned = planned_encoding(device, precision, engine)
        # Of several GPUs the first one encodes the texts.
        return (encoding.engine, encoding.device) == (planned.engine, planned.device.split(",")[0])

    # Words that mean the same are kept apart: what they become may take torch to find out.
    gpu = "with" if gpus.there_may_be_one() else "without"
    asked = f"{engine}, {precision}, {device} on {cpu_name()} {gpu} a GPU"
    return RememberingEncoder(space, asked, load, as_planned)


def export_model(model: str, *, force: bool = False) -> Converted:
    """Convert a model for the CPU engine, or find it converted.

    Raises
    ------
    ModelNameError, WeightsUnavailableError
        If it cannot be loaded.
    ConversionError
        If it does not convert; the message says why.
    CacheError
        If the cache folder cannot be written.
    """
    from zsretrieve.encoders import converted

    name = parse_model_name(model)
    if force:
        converted.forget(name)
    made = _converted(name)
    if made.failure is not None:
        raise ConversionError(
            f"'{name.written}' cannot be converted: {made.failure}", hint="It runs all the same, by --engine torch."
        )
    return made


def is_quantised(model: str) -> bool:
    """Whether a model is calibrated for int8."""
    from zsretrieve.encoders import calibrated, converted

    found = converted.find(parse_model_name(model))
    return found is not None and found.failure is None and calibrated.find(found) is not None


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


def check_int8() -> None:
    """Raise OptionalDependencyError unless a model can be quantised here."""
    from zsretrieve.encoders import quantising

    quantising.check_installed()


def cached_models() -> list[CacheEntry]:
    """The converted models in the user's cache folder, the oldest first."""
    from zsretrieve.encoders import converted

    return converted.entries()


def remembered_queries() -> tuple[int, int]:
    """How many vectors of queries are kept in the cache folder, and their bytes on the disk."""
    from zsretrieve.encoders import remembered

    return remembered.size()


def clear_cached_models(model: str | None) -> list[CacheEntry]:
    """Delete the converted models of a name, or all, and the remembered queries with them.

    Raises ModelNameError and CacheError, see ``converted.clear``.
    """
    from zsretrieve.encoders import converted, remembered

    if model is None:
        remembered.clear()
        return converted.clear()
    return converted.clear(model)


def quantise(
    model: str, pictures: Sequence[Pixels], others: Sequence[Pixels], *, force: bool = False, anew: bool = True
) -> Quantised:
    """Calibrate the int8 picture tower of a model. Parameters and errors are those of ``quantising.calibrate``, and of
    ``export_model``.
    """
    from zsretrieve.encoders import quantising

    return quantising.calibrate(export_model(model), pictures, others, force=force, anew=anew)


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
        made = _converted(name)
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


def _converted(name: ModelName) -> Converted:
    from zsretrieve.encoders import converted

    found = converted.find(name)
    if found is None:
        _log.info(f"preparing {name.written} for this machine, once ...")
        from zsretrieve.encoders.converting import convert_once

        found = convert_once(name)
    return found


def _cpu_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise DeviceError(f"'{precision}' is not a precision", hint=f"Use {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    return cpu_best()


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


def known_identity(model: str) -> str | None:
    """What identifies the weights of a model, told without loading it; None for one of the hub that is not fetched yet.

    Raises
    ------
    ModelNameError
        If the name cannot be read.
    WeightsUnavailableError
        If the files of a model on disk cannot be read.
    """
    from zsretrieve.encoders.identity import weights_identity
    from zsretrieve.encoders.naming import NameForm

    name = parse_model_name(model)
    identity = weights_identity(name)
    return None if name.form is NameForm.HUB and "@" not in identity else identity


def known_models(search: str = "") -> list[ModelInfo]:
    """The pretrained models of open_clip's registry."""
    from zsretrieve.encoders import registry

    return registry.known_models(search)


def describe_model(name: str) -> dict[str, object]:
    """What is known of a model without loading its weights. Raises ModelNameError if there is none."""
    from zsretrieve.encoders.describe import describe

    return describe(name)
