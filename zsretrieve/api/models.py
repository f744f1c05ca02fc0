"""Models: what is known about them without loading them, converting and calibrating them, and their cache."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zsretrieve.domain.errors import ConversionError, DeviceError, SourceError, UsageError
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import Compute, Engine, Precision, Reading
from zsretrieve.encoders.catalog.model_name import DEFAULT_MODEL, NameForm, parse_model_name
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.sample import sample
from zsretrieve.system import hardware
from zsretrieve.system.atomic import OutputKind, check_output, replacing

if TYPE_CHECKING:
    from zsretrieve.api.sources import SourceLike
    from zsretrieve.encoders.catalog.published import PublishedModel
    from zsretrieve.encoders.openvino.int8_cache import Int8Tower
    from zsretrieve.encoders.openvino.model_cache import CacheEntry, ConvertedModel
    from zsretrieve.images.sources import Source


_log = logging.getLogger("zsretrieve")

_CALIBRATED_ON, _MEASURED_ON = 300, 100
_LEAST_IMAGES = 16


def calibrate(
    model: str,
    source: SourceLike,
    *,
    reading: Reading | None = None,
    force: bool = False,
    again: bool = True,
    on_stage: OnStage | None = None,
) -> Int8Tower:
    """Calibrate a model's int8 image tower on up to 300 images of a source, and measure it on up to 100 others.

    It is stored with the converted model; from then on, ``precision="int8"`` uses it.

    Parameters
    ----------
    model : str
    source : path, sequence of path or Source
    reading : Reading, optional
        As for ``build_gallery``: calibrate on images as they will be encoded.
    force : bool
        Calibrate also on a processor on which int8 is slower than fp32, and store it even if it loses too much.
    again : bool
        Calibrate even if there is a calibration; otherwise return that one.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    DeviceError
        If int8 is slower than fp32 on this processor, unless ``force``.
    SourceError
        If too few images can be read.
    OptionalDependencyError, ConversionError, CacheError
        See ``zsretrieve.encoders.openvino.int8.calibrate``.
    """
    from zsretrieve.api.sources import as_source  # opens indexes too, which a list of models need not wait for
    from zsretrieve.encoders.openvino import int8

    if not again and (existing := _int8_tower(model)) is not None:
        return existing
    if not (force or hardware.cpu_has_int8()):
        raise DeviceError(
            "this processor has no instructions for int8 (VNNI): fp32 is faster, and exact",
            hint=f"Leave out int8, or calibrate all the same: zsretrieve models export {model} --int8 FOLDER --force",
        )
    int8.check_installed()
    images = as_source(source)
    _refuse_few(model, len(images.files))
    with one_step(on_stage, f"calibrating {model} for int8"):
        encoder = Model(model, Compute("cpu", Precision.FP32, Engine.OPENVINO)).load()
        prepared = sample(images, encoder, reading or Reading(), _CALIBRATED_ON + _MEASURED_ON)
        _refuse_few(model, len(prepared))
        n_measured = max(1, min(_MEASURED_ON, len(prepared) // 4))
        # Evenly spaced, so that both parts cover the whole source.
        places = set(np.linspace(0, len(prepared) - 1, n_measured).round().astype(int).tolist())
        measured_on = [image for place, image in enumerate(prepared) if place in places]
        calibrated_on = [image for place, image in enumerate(prepared) if place not in places]
        tower = int8.calibrate(_converted(model), calibrated_on, measured_on, force=force, again=again)
    _log.info(
        f"int8 calibrated on {tower.calibrated_on} images; cosine similarity to fp32 on {tower.measured_on} others: "
        f"mean {tower.mean_cosine:.4f}, least {tower.least_cosine:.4f}"
    )
    return tower


def calibrate_once(model: Model, source: Source, reading: Reading, on_stage: OnStage | None = None) -> None:
    """Calibrate a model that is to run in int8 on the images it will encode, unless it is calibrated already."""
    if model.is_given or model.compute.precision is not Precision.INT8:
        return
    name = model.name or DEFAULT_MODEL
    if not is_calibrated(name):
        calibrate(name, source, reading=reading, again=False, on_stage=on_stage)


def is_calibrated(model: str) -> bool:
    """Whether a model has an int8 image tower. Raises ModelNameError if the name cannot be read."""
    return _int8_tower(model) is not None


def export_model(
    model: str = DEFAULT_MODEL,
    *,
    int8: SourceLike | None = None,
    force: bool = False,
    trust_remote_code: bool = False,
    on_stage: OnStage | None = None,
) -> Path:
    """Convert a model for the CPU engine now, rather than when it is first used; the folder that holds it.

    Parameters
    ----------
    model : str
    int8 : path, sequence of path or Source, optional
        Images to calibrate an int8 image tower on, see ``calibrate``.
    force : bool
        Convert again; with ``int8``, store the calibration even if it loses too much.
    trust_remote_code : bool
        See ``Compute``.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    ModelNameError, WeightsUnavailableError, UntrustedCodeError
        See ``Model``.
    UsageError
        If ``force`` would delete an int8 image tower.
    ConversionError
        If it cannot be converted; the message says why.
    CacheError
        If the cache folder cannot be written.
    """
    from zsretrieve.api.sources import as_source

    # A new conversion has no int8 tower; with images it is the calibration that is forced.
    convert_again = force and int8 is None
    if convert_again and is_calibrated(model):
        raise UsageError(
            f"converting '{model}' again would delete its int8 image tower",
            hint=f"Calibrate it again with `int8`, or delete both with: zsretrieve models cache clear {model}",
        )
    images = None if int8 is None else as_source(int8)
    with one_step(on_stage, f"converting {model}"):
        folder = _converted(model, again=convert_again, trusted=trust_remote_code).folder
    if images is not None:
        calibrate(model, images, force=force, on_stage=on_stage)
    return folder


def export_pack(
    model: str,
    out: PathLike,
    *,
    half: bool = False,
    force: bool = False,
    trust_remote_code: bool = False,
    on_stage: OnStage | None = None,
) -> Path:
    """Write a model into a pack: one file that ``pack:FILE`` opens on any machine, without torch and without a network.

    Parameters
    ----------
    model : str
        It is converted first if need be.
    out : path
        The file to write.
    half : bool
        Store the weights in bf16, which halves the size. Such a pack has no fp32.
    force : bool
        Replace a pack that is there.
    trust_remote_code : bool
        See ``Compute``.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    ModelNameError, WeightsUnavailableError, UntrustedCodeError, ConversionError, CacheError
        See ``export_model``.
    OutputExistsError
        If ``out`` exists, and is not a pack or ``force`` is not set.
    IndexFolderError
        If it cannot be written.
    """
    from zsretrieve.encoders.catalog.pack import is_pack

    place = Path(os.path.expanduser(out))
    kind = OutputKind(is_folder=False, is_ours=is_pack, name="pack")
    check_output(place, kind, force=force)  # before a conversion, which takes long
    with one_step(on_stage, f"converting {model}"):
        converted = _converted(model, trusted=trust_remote_code)
    from zsretrieve.encoders.openvino import packing

    with one_step(on_stage, f"packing {model}"), replacing(place, kind, force=force) as part:
        packing.write(converted, packing.origin_of(parse_model_name(model), converted), part, half=half)
    return place


def cached_models() -> list[CacheEntry]:
    """The converted models in the user's cache folder, the oldest first."""
    from zsretrieve.encoders.openvino import model_cache

    return model_cache.entries()


def cached_queries() -> tuple[int, int]:
    """The number of cached query vectors, and their bytes on disk."""
    from zsretrieve.encoders.cache import text_embeddings

    return text_embeddings.QUERIES.size()


def cached_prompts() -> tuple[int, int]:
    """The number of cached prompt vectors, and their bytes on disk."""
    from zsretrieve.encoders.cache import text_embeddings

    return text_embeddings.PROMPTS.size()


def cached_images() -> tuple[int, int]:
    """The number of cached image vectors, and their bytes on disk."""
    from zsretrieve.encoders.cache import image_embeddings

    return image_embeddings.IMAGES.size()


def cached_detections() -> tuple[int, int]:
    """The number of images whose objects are cached, and their bytes on disk."""
    from zsretrieve.encoders.cache import detections

    return detections.DETECTIONS.size()


def clear_cache(model: str | None = None) -> list[CacheEntry]:
    """Delete the converted models with a name; without a name all of them, the vectors of queries, prompts and
    images, and the objects that were detected.

    A name means the models that are listed under it, however it is spelled, and the one that it would use now, which
    may have been converted under the name of a copy in another folder.

    Returns
    -------
    list of CacheEntry
        The models deleted.

    Raises
    ------
    ModelNameError
        If there is none with that name.
    CacheError
        If it cannot be deleted.
    """
    from zsretrieve.encoders.cache import detections, image_embeddings, text_embeddings
    from zsretrieve.encoders.openvino import model_cache
    from zsretrieve.gallery.matching import best_scores

    if model is None:
        text_embeddings.QUERIES.clear()
        text_embeddings.PROMPTS.clear()
        image_embeddings.IMAGES.clear()
        detections.DETECTIONS.clear()
        if (scores := best_scores()) is not None:
            scores.clear()
    return model_cache.clear(model)


def published_models(search: str = "", *, by: str | None = None, registry: bool = False) -> list[PublishedModel]:
    """Published figures of popular models: size, cost, ImageNet zero-shot Prec@1, licence, with sources.

    This project has not measured any of the figures; docs/models.md explains them.

    Parameters
    ----------
    search : str
        Words that a name must contain.
    by : str, optional
        ``top1`` (most accurate first), ``gflop`` (operations of the image tower), ``params``, image ``size`` (least
        first) or ``name``. Unknown values come last. By default ``gflop``, and the registry's order with ``registry``.
    registry : bool
        All pretrained models of open_clip's registry instead, most of them without figures; ``info`` is what the
        registry says.
    """
    from zsretrieve.encoders.catalog import published

    if registry:
        from zsretrieve.encoders.catalog.registry import known_models

        models = [published.with_figures(info) for info in known_models(search)]
    else:
        words = search.lower().split()
        models = [model for model in published.published_models() if all(word in model.name.lower() for word in words)]
    by = by or (None if registry else "gflop")
    return models if by is None else published.ordered(models, by)


def describe_model(name: str) -> dict[str, object]:
    """What is known about a model without loading its weights, and what is published about it.

    Raises ModelNameError if there is no such model, and WeightsUnavailableError if it is a damaged pack.
    """
    from zsretrieve.encoders.catalog import pack, published

    parsed = parse_model_name(name)
    if parsed.pack is not None:
        return pack.describe_pack(name, parsed.pack)
    from zsretrieve.encoders.catalog.describe import describe

    description = describe(name)
    figures = published.published_model(str(parsed.arch), parsed.rest) if parsed.form is NameForm.TAG else None
    return description if figures is None else description | figures.facts()


def _int8_tower(model: str) -> Int8Tower | None:
    from zsretrieve.encoders.openvino import int8_cache, model_cache

    converted = model_cache.find(parse_model_name(model))
    return None if converted is None or converted.failure is not None else int8_cache.find(converted)


def _refuse_few(model: str, count: int) -> None:
    if count < _LEAST_IMAGES:
        raise SourceError(
            f"calibrating for int8 needs {_LEAST_IMAGES} images, and only {count} can be read",
            hint=f"Calibrate on more: zsretrieve models export {model} --int8 FOLDER; or use `precision` bf16.",
        )


def _converted(model: str, *, again: bool = False, trusted: bool = False) -> ConvertedModel:
    from zsretrieve.encoders.openvino import conversion, model_cache

    name = replace(parse_model_name(model), trusted=trusted)
    if again:
        conversion.check_installed(name, again=True)
        model_cache.forget(name)
    converted = conversion.find_or_convert(name)
    if converted.failure is not None:
        raise ConversionError(
            f"'{name.written}' cannot be converted: {converted.failure}", hint="Run it with `engine` torch."
        )
    return converted
