"""Opening open_clip's models: weights, tokenizer, preprocessing, and what space they span."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import Any

import open_clip
import torch

from zsretrieve.encoders.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.identity import weights_identity
from zsretrieve.encoders.naming import ModelName, NameForm
from zsretrieve.encoders.registry import check_tag, common_to_tags, tag_activation
from zsretrieve.encoders.text_tower import text_tower
from zsretrieve.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.records import Head, Preprocessing, ScoreHead, Space, TextContext


@dataclass(frozen=True)
class OpenClipModel:
    """A model of open_clip, float32 on the CPU and in evaluation mode, with its own tokenizer."""

    model: Any
    tokenizer: Any
    space: Space
    head: Head


def load(name: ModelName) -> OpenClipModel:
    """Load a model.

    Raises
    ------
    ModelNameError
        If there is no such model; the nearest names are in the hint.
    WeightsUnavailableError
        If its weights are neither cached nor to be downloaded, or do not fit the model.
    """
    with offline_if_unreachable() if name.may_download else contextlib.nullcontext() as offline:
        model = _load_model(name, offline).eval()
        tokenizer = _load_tokenizer(name, offline)
    config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    return OpenClipModel(model, tokenizer, _space(name, model, config, tokenizer), _head(model))


def _load_model(name: ModelName, offline: str | None) -> Any:
    options: dict[str, Any] = {}
    pretrained = None
    if name.form is NameForm.TAG:
        check_tag(str(name.arch), name.rest, name.written)
        pretrained = name.rest
        # The activation belongs to the weights. open_clip only warns when the architecture's default differs.
        options["quick_gelu"] = tag_activation(str(name.arch), name.rest) == "quick_gelu"
    elif name.form is NameForm.CHECKPOINT:
        check_tag(str(name.arch), None, name.written)
        pretrained = name.rest
        common = common_to_tags(str(name.arch))
        options["quick_gelu"] = common.activation == "quick_gelu"
        options["force_preprocess_cfg"] = common.preprocessing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="QuickGELU mismatch")
        try:
            return open_clip.create_model(
                name.open_clip_name, pretrained=pretrained, require_pretrained=True, output_dict=False, **options
            )
        except Exception as error:  # hub, safetensors, torch and timm each have their own
            raise _loading_error(name, error, offline) from error


def _loading_error(name: ModelName, error: Exception, offline: str | None) -> Exception:
    reason = " ".join(str(error).split())
    if not isinstance(error, RuntimeError | ValueError):
        reason = f"{type(error).__name__}: {reason}"
    if name.form in (NameForm.LOCAL, NameForm.CHECKPOINT):
        return WeightsUnavailableError(
            f"the weights of '{name.written}' cannot be loaded: {reason[:300]}",
            hint="Check that configuration and weights belong together.",
        )
    if name.form is NameForm.HUB and ("404" in reason or "not found" in reason.lower()):
        return ModelNameError(
            f"there is no open_clip model '{name.written}' on the hub", hint="Check the repository's name."
        )
    return WeightsUnavailableError(
        f"the weights of '{name.written}' cannot be had: {why_missing(error, offline)}",
        hint="Check the network and HF_HUB_OFFLINE, or use a model on disk (local-dir:PATH) or the bundled one (demo).",
    )


def _load_tokenizer(name: ModelName, offline: str | None) -> Any:
    try:
        return open_clip.get_tokenizer(name.open_clip_name)
    except Exception as error:  # likewise
        raise WeightsUnavailableError(
            f"the tokenizer of '{name.written}' cannot be had: {why_missing(error, offline)}",
            hint="Check the network and HF_HUB_OFFLINE; a local-dir model needs its tokenizer files beside it.",
        ) from error


def _space(name: ModelName, model: Any, config: Any, tokenizer: Any) -> Space:
    size = config.size if isinstance(config.size, tuple | list) else (config.size, config.size)
    kind = type(tokenizer).__name__
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    return Space(
        model=name.in_passport,
        weights=weights_identity(name),
        dim=_dim(model),
        activation="quick_gelu" if _uses_quick_gelu(model) else "gelu",
        preprocessing=Preprocessing(
            size=(int(size[0]), int(size[1])),
            mean=tuple(float(v) for v in config.mean),
            std=tuple(float(v) for v in config.std),
            interpolation=config.interpolation,
            resize_mode=config.resize_mode,
            fill_color=int(config.fill_color),
        ),
        text=TextContext(f"{kind}:{clean.strip('_').removeprefix('clean_')}", int(tokenizer.context_length)),
    )


def _dim(model: Any) -> int:
    tower = text_tower(model)
    tokens = torch.zeros((1, 1 if tower.causal else model.context_length), dtype=torch.long)
    with torch.no_grad():
        return int(tower(tokens).shape[-1])


def _uses_quick_gelu(model: Any) -> bool:
    return any(type(module).__name__ == "QuickGELU" for module in model.modules())


def _head(model: Any) -> Head:
    scale = float(model.logit_scale.detach().exp().item())
    if getattr(model, "logit_bias", None) is not None:
        return Head(ScoreHead.SIGMOID, scale, float(model.logit_bias.detach().item()))
    return Head(ScoreHead.SOFTMAX, scale)
