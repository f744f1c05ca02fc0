"""Describing a model from its configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.encoders.catalog.availability import not_built
from zsretrieve.encoders.catalog.files import hub_config, safe_weights
from zsretrieve.encoders.catalog.fingerprint import config_bytes
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.catalog.layouts import is_transformers
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm, parse_model_name
from zsretrieve.encoders.catalog.plan import OutsideError, plan_of
from zsretrieve.encoders.catalog.registry import check_tag, common_to_tags, model_info
from zsretrieve.encoders.catalog.tables import SCALING, architecture, preprocessing, tag_record
from zsretrieve.encoders.openvino.graphs import transformers
from zsretrieve.encoders.text.sources import words_of
from zsretrieve.encoders.text.tokenizer import InexactTokenizerError

_UNSAFE = "its weights are not in the format safetensors"


def describe(name: str) -> dict[str, object]:
    """Name, image size, dim, context, activation, tokenizer and preprocessing of a model, and whether it needs torch.

    ``torch_reason`` is why it does, None if it does not. Of a tag or a hub model, that is what its configuration shows:
    whether its weights are in safetensors is not looked up.

    Raises
    ------
    ModelNameError
        If there is no such model.
    WeightsUnavailableError
        If it is a hub model whose configuration is not available, or files of a model on disk are missing.
    ConversionError
        If it is in transformers' layout, and not of a kind that runs here.
    """
    parsed = parse_model_name(name)
    match parsed.form:
        case NameForm.TAG:
            info = model_info(str(parsed.arch), parsed.rest)
            weights = tag_record(info.arch, info.tag)
            config = _config(info.arch, info.activation)
            found = _from_config(info.name, "tag", config, weights, info.hub, cached=info.cached)
            return found if weights.get("hf_hub") else _with_reason(found, "its weights are not on the hub")
        case NameForm.CHECKPOINT:
            check_tag(str(parsed.arch), None, name)
            common = common_to_tags(str(parsed.arch))
            config = _config(str(parsed.arch), common.activation)
            found = _from_config(name, "checkpoint", config, common.preprocessing, parsed.rest)
            return found if safe_weights(parsed) else _with_reason(found, _UNSAFE)
        case NameForm.LOCAL if is_transformers(parsed):
            if not safe_weights(parsed):
                raise not_built(parsed, "it has no model.safetensors")
            return _of_transformers(parsed, "local-dir", json.loads(config_bytes(parsed) or b"{}"), cached=True)
        case NameForm.LOCAL:
            path = Path(parsed.rest) / "open_clip_config.json"
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
                images = config.get("preprocess_cfg", {})
                found = _from_config(name, "local-dir", config["model_cfg"], images, parsed.rest)
                return found if safe_weights(parsed) else _with_reason(found, _UNSAFE)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ModelNameError(f"'{path}' is not valid: {error}", hint="Check the file.") from error
        case NameForm.PACK:
            from zsretrieve.encoders.catalog.pack import describe_pack

            return describe_pack(name, Path(parsed.rest))
        case NameForm.CLASSIFIER:
            raise ModelNameError(
                f"'{name}' is a classifier, and only models of images and texts are described",
                hint="Its authors describe it: see timm or torchvision.",
            )
        case NameForm.HUB:
            with offline_if_unreachable() as offline:
                try:
                    config = hub_config(parsed.rest)
                except (OSError, RuntimeError, ValueError) as error:
                    raise WeightsUnavailableError(
                        f"could not load the configuration of '{name}': {why_missing(error, offline)}",
                        hint="Check the network, the repository's name and HF_HUB_OFFLINE.",
                    ) from error
            if is_transformers(parsed):
                return _of_transformers(parsed, "hf-hub", config, cached=False)
            images = config.get("preprocess_cfg", {})
            return _from_config(name, "hf-hub", config["model_cfg"], images, parsed.rest, cached=False)


def _config(arch: str, activation: str) -> dict[str, Any]:
    return {**architecture(arch), "quick_gelu": activation == "quick_gelu"}


def _from_config(
    name: str, form: str, config: dict[str, Any], images: dict[str, Any], place: str, *, cached: bool = True
) -> dict[str, object]:
    try:
        size = images.get("size") or config["vision_cfg"].get("image_size", 224)
        resolved = preprocessing() | {key: value for key, value in images.items() if value is not None}
        text, dim = config["text_cfg"], config["embed_dim"]
        context = text.get("context_length", 77)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelNameError(f"the configuration of '{name}' is not valid: {error!r}", hint="Check it.") from error
    reason = _torch_reason(config)
    return {
        "name": name,
        "form": form,
        "image_size": list(size) if isinstance(size, list | tuple) else [size, size],
        "dim": dim,
        "context_length": context,
        "activation": "quick_gelu" if config.get("quick_gelu") else "gelu",
        "tokenizer": text.get("hf_tokenizer_name") or "CLIP BPE",
        "preprocessing": {key: resolved[key] for key in SCALING},
        "weights_from": place,
        "cached": cached,
        "needs_torch": reason is not None,
        "torch_reason": reason,
    }


def _with_reason(found: dict[str, object], reason: str) -> dict[str, object]:
    """A description of a model that needs torch also for its weights."""
    return found | {"needs_torch": True, "torch_reason": found["torch_reason"] or reason}


def _of_transformers(name: ModelName, form: str, content: dict[str, Any], *, cached: bool) -> dict[str, object]:
    config, given = content["model_cfg"], content["preprocess_cfg"]
    try:
        plan, images = transformers.plan_of(config), transformers.images_of(config, given)
    except (OutsideError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise not_built(name, f"its configuration lacks {error}" if isinstance(error, KeyError) else error) from error
    return {
        "name": name.written,
        "form": form,
        "image_size": list(plan.image.size),
        "dim": plan.text.dim,
        "context_length": plan.text.context,
        "activation": plan.activation,
        "tokenizer": "transformers'",
        "preprocessing": {key: images[key] for key in SCALING},
        "weights_from": name.rest,
        "cached": cached,
        "needs_torch": False,
        "torch_reason": None,
    }


def _torch_reason(config: dict[str, Any]) -> str | None:
    """What a model has that those do not whose graphs are built from their weights alone; None if it is one of them."""
    try:
        plan_of(config)
        words_of(config["text_cfg"])
    except OutsideError as error:
        return str(error)
    except InexactTokenizerError as error:
        return f"its tokenizer: {error}"
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return "its configuration is not one of open_clip's"
    return None
