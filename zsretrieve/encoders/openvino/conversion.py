"""A converted model for the CPU engine: found in the cache, unpacked from a pack, built from its weights, or converted
through torch, whichever is possible first.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from zsretrieve.domain.errors import CacheError, WeightsUnavailableError
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.encoders.catalog.layouts import is_transformers
from zsretrieve.encoders.catalog.model_name import ModelName
from zsretrieve.encoders.openvino import model_cache
from zsretrieve.encoders.openvino.model_cache import ConvertedModel
from zsretrieve.system import extras

_log = logging.getLogger("zsretrieve")

_SPARE_BYTES = 20_000_000


def check_installed(name: ModelName, *, again: bool = False) -> None:
    """Check that what a conversion needs is installed, unless there is one and it is not to be made ``again``.

    Raises
    ------
    OptionalDependencyError
        If it is not installed.
    ModelNameError, WeightsUnavailableError, UntrustedCodeError
        If, besides, there is no such model: see ``check_available``.
    """
    if extras.has_models() or name.pack is not None or not (again or model_cache.find(name) is None):
        return
    from zsretrieve.encoders.catalog.availability import check_available

    check_available(name)  # for a model that does not exist, nobody should install anything
    from zsretrieve.encoders.catalog.describe import describe

    reason = describe(name.written)["torch_reason"]
    if reason is not None:
        extras.require_models(f"converting '{name.written}' ({reason})")


def find_or_convert(name: ModelName, on_stage: OnStage | None = None) -> ConvertedModel:
    """A converted model, or the record that it cannot be converted; converts it now if that was not tried yet.

    A pack is unpacked instead, and its digests are checked.

    Raises
    ------
    ModelNameError, WeightsUnavailableError, UntrustedCodeError
        See ``check_available``, and ``openvino.packing.unpack``.
    OptionalDependencyError
        See ``check_installed``.
    ConversionError
        If it is in transformers' layout, and not of a kind that is built from its weights.
    """
    model = model_cache.find(name)
    if model is not None:
        return model
    if name.pack is not None:
        from zsretrieve.encoders.openvino.packing import unpack

        pack = name.pack
        with one_step(on_stage, f"unpacking {name.written} (once per machine)"):
            return model_cache.make_once(name, lambda folder: unpack(name, pack, folder))
    check_installed(name)
    from zsretrieve.encoders.catalog.availability import check_available

    check_available(name)
    _log.info(f"preparing {name.written} for this machine, once ...")
    with one_step(on_stage, f"converting {name.written} (once per model and machine)"):
        return _built_or_converted(name)


def _built_or_converted(name: ModelName) -> ConvertedModel:
    """The model, built from its weights alone if it is of a family for which that is known, else through torch."""
    from zsretrieve.encoders.catalog.availability import not_built
    from zsretrieve.encoders.catalog.plan import OutsideError
    from zsretrieve.encoders.openvino.graphs.build import build_once

    try:
        return build_once(name)
    except (OutsideError, WeightsUnavailableError) as error:
        if is_transformers(name):
            if isinstance(error, OutsideError):
                raise not_built(name, error) from error
            raise
        # open_clip opens more: it fits weights to another image size, and reads other formats than safetensors.
        if not extras.has_models():
            if isinstance(error, OutsideError):
                extras.require_models(f"converting '{name.written}' ({error})")
            raise
    from zsretrieve.encoders.openvino.export import convert_once

    return convert_once(name)


def refuse_if_full(folder: Path, size: int) -> None:
    """Raise CacheError if towers of that many bytes do not fit on the disk: OpenVINO has no error of its own for it."""
    needed, free = _SPARE_BYTES + size, shutil.disk_usage(folder).free
    if free < needed:
        raise CacheError(
            f"the converted model needs {needed / 1e6:,.0f} MB, and '{folder.parent}' has {free / 1e6:,.0f} MB free",
            hint="Free some space, empty the cache (zsretrieve models cache clear), or use `engine` torch.",
        )
