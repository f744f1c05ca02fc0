"""The model that a training on images begins with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import open_clip

from zsretrieve.domain.model_training import Loss
from zsretrieve.encoders.catalog import files
from zsretrieve.encoders.catalog.availability import unavailable
from zsretrieve.encoders.catalog.fingerprint import weights_identity
from zsretrieve.encoders.catalog.hub import why_missing
from zsretrieve.encoders.catalog.model_name import ModelName
from zsretrieve.encoders.torch import loading
from zsretrieve.training.job import ImageJob
from zsretrieve.training.texts import forget_unused, seeded, set_bias, tokens_of


def begun(job: ImageJob) -> tuple[Any, Any]:
    """The model in float32 on the CPU, with the bias that its loss needs, and its tokenizer.

    Raises as ``loading.load`` does.
    """
    if not job.settings.from_scratch:
        loaded = loading.load(job.name)
        model, tokenizer = loaded.model, loaded.tokenizer
    else:
        with seeded(job.settings.seed):
            model, tokenizer = loading.untrained(job.name)
        forget_unused(model, tokens_of(tokenizer, job.pairs.captions))
    set_bias(model, job.loss, from_scratch=job.settings.from_scratch)
    return model, tokenizer


def preprocessing(model: Any) -> Any:
    """How images are prepared for a model: open_clip's ``PreprocessCfg``."""
    return open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)


def configuration_of(name: ModelName) -> files.Configuration:
    """The configuration of a model. Raises WeightsUnavailableError if it cannot be fetched or is not valid."""
    try:
        return files.configuration(name)
    except (OSError, ValueError, KeyError) as error:
        raise unavailable(name, why_missing(error, None)) from error


def own_loss(wanted: Loss | None, config: files.Configuration) -> Loss:
    """The loss that is wanted, or else the one that a configuration was made for."""
    if wanted is not None:
        return wanted
    return Loss.CLIP if config.model.get("init_logit_bias") is None else Loss.SIGLIP


def identity_of(name: ModelName, *, from_scratch: bool) -> str:
    """What identifies the weights to begin with, or the configuration if they are drawn."""
    if not from_scratch:
        return weights_identity(name)
    return json.dumps(asdict(files.configuration(name)), sort_keys=True)
