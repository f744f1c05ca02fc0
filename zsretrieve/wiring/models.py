"""Models: what is known of them, and what the cache folder keeps of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zsretrieve.encoders.naming import parse_model_name
from zsretrieve.errors import ConversionError
from zsretrieve.ports import Pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsretrieve.encoders.calibrated import Quantised
    from zsretrieve.encoders.converted import CacheEntry, Converted
    from zsretrieve.encoders.naming import ModelName
    from zsretrieve.encoders.published import PublishedModel
    from zsretrieve.encoders.registry import ModelInfo

_log = logging.getLogger("zsretrieve")


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
    made = converted_model(name)
    if made.failure is not None:
        raise ConversionError(
            f"'{name.written}' cannot be converted: {made.failure}", hint="It runs all the same, by --engine torch."
        )
    return made


def converted_model(name: ModelName) -> Converted:
    """A converted model, or the record of why it cannot be; it is converted now if that was not tried yet."""
    from zsretrieve.encoders import converted

    found = converted.find(name)
    if found is None:
        _log.info(f"preparing {name.written} for this machine, once ...")
        from zsretrieve.encoders.converting import convert_once

        found = convert_once(name)
    return found


def is_quantised(model: str) -> bool:
    """Whether a model is calibrated for int8."""
    from zsretrieve.encoders import calibrated, converted

    found = converted.find(parse_model_name(model))
    return found is not None and found.failure is None and calibrated.find(found) is not None


def check_int8() -> None:
    """Raise OptionalDependencyError unless a model can be quantised here."""
    from zsretrieve.encoders import quantising

    quantising.check_installed()


def quantise(
    model: str, pictures: Sequence[Pixels], others: Sequence[Pixels], *, force: bool = False, anew: bool = True
) -> Quantised:
    """Calibrate the int8 picture tower of a model. Parameters and errors are those of ``quantising.calibrate``, and of
    ``export_model``.
    """
    from zsretrieve.encoders import quantising

    return quantising.calibrate(export_model(model), pictures, others, force=force, anew=anew)


def cached_models() -> list[CacheEntry]:
    """The converted models in the user's cache folder, the oldest first."""
    from zsretrieve.encoders import converted

    return converted.entries()


def remembered_queries() -> tuple[int, int]:
    """How many vectors of queries are kept in the cache folder, and their bytes on the disk."""
    from zsretrieve.encoders import remembered

    return remembered.QUERIES.size()


def remembered_prompts() -> tuple[int, int]:
    """How many vectors of prompts are kept in the cache folder, and their bytes on the disk."""
    from zsretrieve.encoders import remembered

    return remembered.PROMPTS.size()


def clear_cached_models(model: str | None) -> list[CacheEntry]:
    """Delete the converted models of a name, or all, and the remembered queries and prompts with them.

    Raises ModelNameError and CacheError, see ``converted.clear``.
    """
    from zsretrieve.encoders import converted, remembered

    if model is None:
        remembered.QUERIES.clear()
        remembered.PROMPTS.clear()
        return converted.clear()
    return converted.clear(model)


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


def published_models(search: str = "", *, by: str = "gflop") -> list[PublishedModel]:
    """The models of the table of published figures whose name holds every word of ``search``, in one of the orders of
    ``published.ordered``; no model library is loaded.
    """
    from zsretrieve.encoders import published

    words = search.lower().split()
    found = [model for model in published.published_models() if all(word in model.name.lower() for word in words)]
    return published.ordered(found, by)


def published_of(infos: Sequence[ModelInfo], *, by: str | None = None) -> list[PublishedModel]:
    """What is published of models of the registry, in their order or in one of ``published.ordered``; of those that are
    not in the table only what the registry says.
    """
    from zsretrieve.encoders import published

    models = [
        published.published_model(info.arch, info.tag)
        or published.PublishedModel(info.name, info.arch, info.tag, info.image_size, info.dim)
        for info in infos
    ]
    return published.ordered(models, by) if by is not None else models


def describe_model(name: str) -> dict[str, object]:
    """What is known of a model without loading its weights, and what is published of it. Raises ModelNameError if there
    is none.
    """
    from zsretrieve.encoders import published
    from zsretrieve.encoders.describe import describe
    from zsretrieve.encoders.naming import NameForm

    described = describe(name)
    parsed = parse_model_name(name)
    if parsed.form is NameForm.TAG:
        found = published.published_model(str(parsed.arch), parsed.rest)
        if found is not None:
            described |= found.facts()
    return described
