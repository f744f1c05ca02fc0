"""A converted model from its weights alone: both graphs, the tokenizer, and the embedding space that is open_clip's."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.domain.errors import WeightsUnavailableError
from zsretrieve.domain.records import Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.domain.settings import Compute
from zsretrieve.encoders.catalog.availability import unavailable
from zsretrieve.encoders.catalog.files import Configuration, configuration, safe_weights, tokenizer_folder
from zsretrieve.encoders.catalog.fingerprint import image_side, weights_identity
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm
from zsretrieve.encoders.catalog.pack import preprocessing_of
from zsretrieve.encoders.catalog.plan import OutsideError, Plan
from zsretrieve.encoders.openvino import model_cache
from zsretrieve.encoders.openvino.conversion import refuse_if_full
from zsretrieve.encoders.openvino.encoder import OpenVinoEncoder
from zsretrieve.encoders.openvino.graphs import transformers
from zsretrieve.encoders.openvino.graphs.image import image_graph
from zsretrieve.encoders.openvino.graphs.text import text_graph
from zsretrieve.encoders.openvino.graphs.weights import MisfitError, Weights
from zsretrieve.encoders.openvino.model_cache import IMAGE, TEXT, ConvertedModel
from zsretrieve.encoders.openvino.runtime import openvino
from zsretrieve.encoders.text.sources import Words, clip_tokenizer, tokenizer_of_files
from zsretrieve.encoders.text.tokenizer import InexactTokenizerError, TextTokenizer

_MOST_EXPONENT = 88.0  # of e, in float32


@dataclass(frozen=True)
class _Parts:
    """What a model is built from, all of it in files of this machine."""

    images: dict[str, Any]
    plan: Plan
    words: Words
    tokenizer: TextTokenizer
    weights: Callable[[], Weights]
    bytes: int


def build_once(name: ModelName) -> ConvertedModel:
    """The converted model, built now if need be.

    Raises
    ------
    OutsideError
        If it is of a family that is not built from its weights alone.
    WeightsUnavailableError
        If its files are neither here nor to be had, or do not belong together.
    CacheError
        If the cache folder cannot be written.
    """
    offline_or_not = offline_if_unreachable() if name.may_download else contextlib.nullcontext()
    with offline_or_not as offline:
        try:
            parts = _parts_of(name)
            preprocessing_of({**parts.images, "size": parts.plan.image.size})
        except InexactTokenizerError as error:
            raise OutsideError(f"its tokenizer: {error}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise _unavailable(name, error, offline) from error
    try:
        model = model_cache.make_once(name, lambda folder: _write(name, parts, folder))
    except MisfitError as error:
        raise _unavailable(name, error, None) from error
    if model.failure is not None:
        raise OutsideError(model.failure)
    # OpenVINO caches by the path of the graph, so it is compiled in its final place.
    OpenVinoEncoder(model, Compute()).encode_texts([""])
    return model


def _parts_of(name: ModelName) -> _Parts:
    found: Configuration = configuration(name)
    theirs = transformers.is_theirs(found.model)
    plan = transformers.plan_of(found.model)
    images = transformers.images_of(found.model, found.images) if theirs else found.images
    words = transformers.words_of(found.model, name.rest)
    if not words.repository:
        tokenizer = clip_tokenizer(words)
    else:
        folder = tokenizer_folder(name, words.repository)
        if folder is None:
            raise InexactTokenizerError("it has no tokenizer.json, or no tokenizer_config.json")
        tokenizer = tokenizer_of_files(folder, words)
    files = safe_weights(name)
    if not files:
        raise OutsideError("its weights are not in the format safetensors")

    def weights() -> Weights:
        return (
            Weights(*files, renamed=functools.partial(transformers.renamed, found.model)) if theirs else Weights(*files)
        )

    return _Parts(images, plan, words, tokenizer, weights, sum(file.stat().st_size for file in files))


def _write(name: ModelName, parts: _Parts, folder: Path) -> ConvertedModel:
    plan, images = parts.plan, parts.images
    preprocessing = Preprocessing(
        size=plan.image.size,
        mean=tuple(float(value) for value in images["mean"]),
        std=tuple(float(value) for value in images["std"]),
        interpolation=images["interpolation"],
        resize_mode=images["resize_mode"],
        fill_color=int(images["fill_color"]),
    )
    refuse_if_full(folder, parts.bytes)
    # Texts that have nothing in common share the marks of their ends alone.
    marks = set[int].intersection(*(set(ids.tolist()) for ids in parts.tokenizer.ids(["", "a", "9", "?"])))
    causal = plan.text.causal(parts.tokenizer.pad_id, marks)
    weights = parts.weights()
    # One after the other, since a tower's weights are in memory while it is written.
    image = image_graph(plan.image, weights, preprocessing)
    openvino.save_model(image, str(folder / IMAGE), compress_to_fp16=False)
    del image
    weights.release()
    # Weights from before towers of texts had names of their own have those of the joint model.
    apart = plan.custom_text and "positional_embedding" not in weights
    text = text_graph(plan.text, weights, "text." if apart else "", causal=causal)
    head = _head(plan, weights)
    weights.check_all_used()
    openvino.save_model(text, str(folder / TEXT), compress_to_fp16=False)
    del text
    weights.release()
    parts.tokenizer.save(folder)
    space = Space(
        model=name.in_manifest,
        weights=weights_identity(name),
        dim=plan.text.dim,
        activation=plan.activation,
        preprocessing=preprocessing,
        text=TextContext(parts.words.described, parts.words.context_length),
        images_of=image_side(name),
    )
    return ConvertedModel(folder, name.written, space, head, causal)


def _head(plan: Plan, weights: Weights) -> Head:
    exponent = _number(weights, "logit_scale")
    if exponent > _MOST_EXPONENT:
        raise MisfitError(f"its logit_scale is {exponent:g}")
    scale = float(np.float32(math.exp(exponent)))
    if not plan.has_bias:
        return Head(ScoreHead.SOFTMAX, scale)
    return Head(ScoreHead.SIGMOID, scale, _number(weights, "logit_bias") if "logit_bias" in weights else 0.0)


def _number(weights: Weights, name: str) -> float:
    """A single number, which is stored as one or as a list of one."""
    value = float(weights.array(name, (1,) if weights.shape(name) == (1,) else ()).reshape(()))
    if not math.isfinite(value):
        raise MisfitError(f"its {name} is {value}")
    return value


def _unavailable(name: ModelName, error: Exception, offline: str | None) -> WeightsUnavailableError:
    if isinstance(error, WeightsUnavailableError):
        return error
    if name.form in (NameForm.LOCAL, NameForm.CHECKPOINT) or isinstance(error, MisfitError):
        reason = f"its configuration lacks {error}" if isinstance(error, KeyError) else str(error)
        return WeightsUnavailableError(
            f"could not load the weights of '{name.written}': {' '.join(reason.split())[:300]}",
            hint="Check that configuration and weights belong together.",
        )
    return unavailable(name, why_missing(error, offline))
