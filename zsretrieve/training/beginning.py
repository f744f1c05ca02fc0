"""The model that a training on images begins with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import open_clip
import torch
from torch import nn

from zsretrieve.domain.model_training import Loss
from zsretrieve.encoders.catalog import files
from zsretrieve.encoders.catalog.fingerprint import weights_identity
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm
from zsretrieve.encoders.catalog.registry import common_to_tags, tag_activation
from zsretrieve.encoders.torch import loading
from zsretrieve.encoders.torch.text_tower import text_of
from zsretrieve.training.job import ImageJob
from zsretrieve.training.texts import seeded, set_bias


def begun(job: ImageJob) -> tuple[Any, Any]:
    """The model in float32 on the CPU, with the bias that its loss needs, and its tokenizer.

    Raises as ``loading.load`` does.
    """
    if not job.settings.from_scratch:
        loaded = loading.load(job.name)
        model, tokenizer = loaded.model, loaded.tokenizer
    else:
        with seeded(job.settings.seed), loading.code_of_models(allowed=job.name.trusted):
            quick = {} if job.name.arch is None else {"quick_gelu": _is_quick(job.name)}
            model = open_clip.create_model(job.name.open_clip_name, load_weights=False, pretrained_text=False, **quick)
            tokenizer = open_clip.get_tokenizer(job.name.open_clip_name)
        _forget_unused(model, tokenizer, job.pairs.captions)
    set_bias(model, job.loss, from_scratch=job.settings.from_scratch)
    return model, tokenizer


def image_size(model: Any) -> Any:
    """How images are prepared for a model: open_clip's ``PreprocessCfg``."""
    return open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)


def own_loss(job_loss: Loss | None, config: files.Configuration) -> Loss:
    """The loss that is wanted, or else the one that a configuration was made for."""
    if job_loss is not None:
        return job_loss
    return Loss.CLIP if config.model.get("init_logit_bias") is None else Loss.SIGLIP


def identity_of(name: ModelName, *, from_scratch: bool) -> str:
    """What identifies the weights to begin with, or the configuration if they are drawn."""
    if not from_scratch:
        return weights_identity(name)
    return json.dumps(asdict(files.configuration(name)), sort_keys=True)


def _is_quick(name: ModelName) -> bool:
    if name.form is NameForm.TAG:
        return tag_activation(str(name.arch), name.rest) == "quick_gelu"
    return common_to_tags(str(name.arch)).activation == "quick_gelu"


def _forget_unused(model: Any, tokenizer: Any, captions: tuple[str, ...]) -> None:
    """Zero the embeddings of words that no caption has: they carry no information, and stay as they are."""
    embedding = getattr(text_of(model), "token_embedding", None)
    if not isinstance(embedding, nn.Embedding):
        return
    used = torch.zeros(embedding.num_embeddings, dtype=torch.bool)
    for start in range(0, len(captions), 256):
        used[tokenizer(list(captions[start : start + 256])).unique().long()] = True
    with torch.no_grad():
        embedding.weight[~used] = 0
