"""Loading open_clip's models: weights, tokenizer, preprocessing, and their embedding space."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import open_clip
import torch

from zsretrieve.domain.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.domain.records import Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.encoders.catalog.availability import refuse_code, unavailable, untrusted
from zsretrieve.encoders.catalog.files import configuration
from zsretrieve.encoders.catalog.fingerprint import image_side, weights_identity
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm
from zsretrieve.encoders.catalog.registry import check_tag, common_to_tags, tag_activation
from zsretrieve.encoders.torch.text_tower import text_tower


@dataclass(frozen=True)
class OpenClipModel:
    """An open_clip model, float32 on the CPU and in evaluation mode, with its own tokenizer."""

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
        If its weights are neither cached nor available for download, or do not fit the model.
    UntrustedCodeError
        If it would run code of its own, and the name is not ``trusted``.
    """
    offline_or_not = offline_if_unreachable() if name.may_download else contextlib.nullcontext()
    with offline_or_not as offline, code_of_models(allowed=name.trusted):
        model = _load_model(name, offline).eval()
        tokenizer = _load_tokenizer(name, offline)
    config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    return OpenClipModel(model, tokenizer, _space(name, model, config, tokenizer), _head(model))


def untrained(name: ModelName) -> tuple[Any, Any]:
    """A model with weights that torch draws in place of its own, float32 on the CPU, and its tokenizer.

    Raises as ``load`` does; weights are not needed.
    """
    offline_or_not = offline_if_unreachable() if name.may_download else contextlib.nullcontext()
    with offline_or_not as offline, code_of_models(allowed=name.trusted):
        return _load_model(name, offline, is_drawn=True), _load_tokenizer(name, offline)


def _load_model(name: ModelName, offline: str | None, *, is_drawn: bool = False) -> Any:
    options: dict[str, Any] = {"load_weights": not is_drawn, "require_pretrained": not is_drawn}
    pretrained = None
    if name.form in (NameForm.LOCAL, NameForm.HUB):
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # open_clip says below what is wrong with it
            refuse_code(name, open_clip.get_model_config(name.open_clip_name))
    if name.form is NameForm.TAG:
        check_tag(str(name.arch), name.rest, name.written)
        pretrained = name.rest
        # The activation belongs to the weights; open_clip only warns if the architecture's default differs.
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
            if is_drawn:
                # A tag says how images are prepared, which open_clip only takes over with its weights.
                pretrained, options["force_preprocess_cfg"] = None, configuration(name).scaling
                options["pretrained_text"] = False
            return open_clip.create_model(name.open_clip_name, pretrained=pretrained, output_dict=False, **options)
        except Exception as error:  # hub, safetensors, torch and timm each raise their own
            raise _loading_error(name, error, offline) from error


# Changes to other libraries, which one load at a time may make.
_one_load = threading.RLock()


class _CodeRefusedError(Exception):
    """A model asked for code of its own."""


@contextlib.contextmanager
def code_of_models(*, allowed: bool) -> Iterator[None]:
    """Keep code that a model carries from running: Python files beside a tokenizer or a configuration, and pickles.

    A configuration may ask for it in ways that nobody listed, so the libraries themselves are kept from it.
    """
    from transformers import dynamic_module_utils

    def refuse(*args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        raise _CodeRefusedError

    with _one_load:
        code, timeout = dynamic_module_utils.get_class_in_module, dynamic_module_utils.TIME_OUT_REMOTE_CODE
        variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
        forced = os.environ.get(variable)
        os.environ[variable] = "1"
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # transformers would ask on the terminal
        if not allowed:
            dynamic_module_utils.get_class_in_module = refuse
        try:
            yield
        finally:
            dynamic_module_utils.get_class_in_module = code
            dynamic_module_utils.TIME_OUT_REMOTE_CODE = timeout
            if forced is None:
                del os.environ[variable]
            else:
                os.environ[variable] = forced


def _asked_for_code(error: BaseException) -> bool:
    """Whether a library failed because it was kept from running code of a model."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, _CodeRefusedError) or "trust_remote_code" in str(inner):
            return True
        inner = inner.__cause__ or inner.__context__
    return False


def _loading_error(name: ModelName, error: Exception, offline: str | None) -> Exception:
    if _asked_for_code(error):
        return untrusted(name, "it has files for transformers")
    reason = " ".join(str(error).split())
    if not isinstance(error, RuntimeError | ValueError):
        reason = f"{type(error).__name__}: {reason}"
    if name.form in (NameForm.LOCAL, NameForm.CHECKPOINT):
        return WeightsUnavailableError(
            f"could not load the weights of '{name.written}': {reason[:300]}",
            hint="Check that configuration and weights belong together.",
        )
    if name.form is NameForm.HUB and ("404" in reason or "not found" in reason.lower()):
        return ModelNameError(
            f"there is no open_clip model '{name.written}' on the hub", hint="Check the repository's name."
        )
    return unavailable(name, why_missing(error, offline))


def _load_tokenizer(name: ModelName, offline: str | None) -> Any:
    try:
        return open_clip.get_tokenizer(name.open_clip_name)
    except Exception as error:  # as above
        if _asked_for_code(error):
            raise untrusted(name, "its tokenizer has files of its own") from error
        raise WeightsUnavailableError(
            f"could not load the tokenizer of '{name.written}': {why_missing(error, offline)}",
            hint="Check the network and HF_HUB_OFFLINE; a local-dir model needs its tokenizer files in its folder.",
        ) from error


def _space(name: ModelName, model: Any, config: Any, tokenizer: Any) -> Space:
    size = config.size if isinstance(config.size, tuple | list) else (config.size, config.size)
    kind = type(tokenizer).__name__
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    return Space(
        model=name.in_manifest,
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
        images_of=image_side(name),
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
