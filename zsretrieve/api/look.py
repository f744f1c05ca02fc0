"""Looking into an image: how well texts fit each part of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zsretrieve.domain.arguments import check, check_texts
from zsretrieve.domain.errors import DeviceError, ImageError, SourceError, UsageError
from zsretrieve.domain.heat import HeatMap, HeatMethod, Look
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.regions import Pyramid
from zsretrieve.domain.settings import Engine, Precision, Reading
from zsretrieve.encoders.catalog.model_name import DEFAULT_MODEL
from zsretrieve.encoders.loading import Model, ModelLike, as_model
from zsretrieve.images import opening
from zsretrieve.system import extras

if TYPE_CHECKING:
    from PIL import Image

    from zsretrieve.domain.ports import Encoder

TILES = "pyramid:3"
_NO_PATCHES = "the image tower of {} has no vectors of patches that compare with texts"


def look(
    image: PathLike | Image.Image,
    texts: str | Sequence[str],
    model: ModelLike | None = None,
    *,
    method: HeatMethod | str = HeatMethod.AUTO,
    tiles: str = TILES,
    reading: Reading | None = None,
    on_stage: OnStage | None = None,
) -> Look:
    """Heat maps of texts over an image: which parts of it fit each text.

    The vectors of patches are those of MaskCLIP (Zhou et al. 2022), which vision transformers of open_clip have; they
    need torch. Every other model encodes tiles of the image, which are blended.

    Parameters
    ----------
    image : path or Pillow image
        A path, a URL, or an image in an archive.
    texts : str or sequence of str
    model : Model, Encoder or str, optional
        The default model unless another is given.
    method : HeatMethod or str
        ``patches``, ``tiles``, or ``auto``: patches where the model has them, else tiles, and ``Look.reason`` says why.
    tiles : str
        The pyramid of tiles, ``pyramid:2`` to ``pyramid:4``: more tiles show smaller things.
    reading : Reading, optional
        ``exif`` and ``max_pixels`` count.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    UsageError
        If there is no text, the method or the pyramid is unknown, or the model has no patches and these are wanted.
    SourceError
        If the image cannot be read.
    ModelNameError, WeightsUnavailableError, DeviceError, OptionalDependencyError
        See ``Model``.
    """
    wanted = [texts] if isinstance(texts, str) else list(texts)
    check_texts(wanted)
    if not wanted or not all(text.strip() for text in wanted):
        raise UsageError("there is no text to look for", hint="Give one such as 'a red star'.")
    if method not in [*HeatMethod]:
        raise UsageError(f"'{method}' is not a method", hint=f"Use {', '.join(HeatMethod)}.")
    method, pyramid = HeatMethod(method), Pyramid.of(tiles)
    path = None
    if not hasattr(image, "getexif"):
        check("image", image, PathLike, "Give a path or a Pillow image.")
        path = os.fspath(image)
    opened = _opened(image, path, reading or Reading())
    encoder, reason = _encoder(as_model(model), method, on_stage)
    return _looked(path, opened, wanted, encoder, method, reason, pyramid, on_stage)


def _looked(
    path: str | None,
    image: Image.Image,
    texts: list[str],
    encoder: Encoder,
    method: HeatMethod,
    reason: str | None,
    pyramid: Pyramid,
    on_stage: OnStage | None,
) -> Look:
    from zsretrieve.encoding.heat import heat_of_patches, heat_of_tiles

    vectors = encoder.encode_texts(texts)
    on_progress = progress_of(on_stage, "encoding parts")
    try:
        if method is HeatMethod.PATCHES or (method is HeatMethod.AUTO and reason is None):
            patches: Any = encoder.encode_patches  # type: ignore[attr-defined]
            scores, made = heat_of_patches(image, vectors, encoder, patches, on_progress), HeatMethod.PATCHES
        else:
            scores = heat_of_tiles(image, vectors, encoder, pyramid.levels, on_progress)
            made = HeatMethod.TILES
    except ImageError as error:
        raise _unreadable(path, error) from error
    maps = tuple(HeatMap(text, heat) for text, heat in zip(texts, scores, strict=True))
    return Look(path, image.width, image.height, encoder.space.model, made, reason, maps, image)


def _encoder(model: Model, method: HeatMethod, on_stage: OnStage | None) -> tuple[Encoder, str | None]:
    """What encodes, in torch if that may give vectors of patches; and why it gives none.

    Raises UsageError if it gives none and these are wanted.
    """
    if method is HeatMethod.TILES:
        return model.load(), None
    in_torch, reason = model, None
    if not model.is_given:
        compute = model.compute
        if compute.engine is Engine.OPENVINO or compute.precision is Precision.INT8:
            reason = "vectors of patches need torch, and another engine was chosen"
        elif not extras.has_models():
            reason = f"vectors of patches need torch, which is not installed. {extras.how_to_add('models')}"
        else:
            try:
                in_torch = Model(model.name or DEFAULT_MODEL, replace(compute, engine=Engine.TORCH), on_stage=on_stage)
                in_torch.load()
            except DeviceError as error:  # a model that runs in OpenVINO alone
                reason = error.message
    encoder = in_torch.load() if reason is None else None
    if encoder is not None and not getattr(encoder, "has_patches", False):
        reason = _NO_PATCHES.format(encoder.space.model)
    if reason is not None and method is HeatMethod.PATCHES:
        raise UsageError(reason, hint="Use `method` tiles.")
    return encoder or model.load(), reason


def _opened(image: Any, path: str | None, reading: Reading) -> Image.Image:
    from zsretrieve.images.decoding import decode, opened_image, own_pixel_limit

    try:
        if path is None:
            return opened_image(image, reading)
        with own_pixel_limit():
            return decode(opening.read(path), replace(reading, fast=False)).image
    except ImageError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | None, error: ImageError) -> SourceError:
    name = "the image" if path is None else f"'{path}'"
    return SourceError(f"{name} cannot be used: {error.message}", hint=error.hint or "Give a readable image.")
