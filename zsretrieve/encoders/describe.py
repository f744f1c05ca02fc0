"""What a model is, told from its configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip

from zsretrieve.encoders.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.naming import NameForm, parse_model_name
from zsretrieve.encoders.registry import check_tag, common_to_tags, model_info
from zsretrieve.errors import ModelNameError, WeightsUnavailableError


def describe(name: str) -> dict[str, object]:
    """Name, image size, dim, context, activation, tokenizer and preprocessing of a model.

    Raises
    ------
    ModelNameError
        If there is no such model.
    WeightsUnavailableError
        If it is a hub model whose configuration cannot be had.
    """
    parsed = parse_model_name(name)
    match parsed.form:
        case NameForm.TAG:
            info = model_info(str(parsed.arch), parsed.rest)
            weights: dict[str, Any] = open_clip.get_pretrained_cfg(info.arch, info.tag)
            return {
                "name": info.name,
                "form": "tag",
                "image_size": list(info.image_size),
                "dim": info.dim,
                "context_length": info.context_length,
                "activation": info.activation,
                "tokenizer": info.tokenizer,
                "preprocessing": _preprocessing(weights),
                "weights_from": info.hub,
                "cached": info.cached,
            }
        case NameForm.CHECKPOINT:
            check_tag(str(parsed.arch), None, name)
            common = common_to_tags(str(parsed.arch))
            config = {
                **(open_clip.get_model_config(parsed.arch) or {}),
                "quick_gelu": common.activation == "quick_gelu",
            }
            return _from_config(name, "checkpoint", config, common.preprocessing, parsed.rest)
        case NameForm.LOCAL:
            path = Path(parsed.rest) / "open_clip_config.json"
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                return _from_config(
                    name, "local-dir", content["model_cfg"], content.get("preprocess_cfg", {}), parsed.rest
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ModelNameError(f"'{path}' cannot be understood: {error}", hint="Check the file.") from error
        case NameForm.HUB:
            with offline_if_unreachable() as offline:
                try:
                    config = open_clip.factory._get_hf_config(parsed.rest)
                except (OSError, RuntimeError, ValueError) as error:
                    raise WeightsUnavailableError(
                        f"the configuration of '{name}' cannot be had: {why_missing(error, offline)}",
                        hint="Check the network, the repository's name and HF_HUB_OFFLINE.",
                    ) from error
            return _from_config(name, "hf-hub", config["model_cfg"], config.get("preprocess_cfg", {}), parsed.rest)


def _from_config(
    name: str, form: str, config: dict[str, Any], preprocessing: dict[str, Any], place: str
) -> dict[str, object]:
    size = preprocessing.get("size") or config["vision_cfg"].get("image_size", 224)
    text = config["text_cfg"]
    return {
        "name": name,
        "form": form,
        "image_size": list(size) if isinstance(size, list | tuple) else [size, size],
        "dim": config["embed_dim"],
        "context_length": text.get("context_length", 77),
        "activation": "quick_gelu" if config.get("quick_gelu") else "gelu",
        "tokenizer": text.get("hf_tokenizer_name") or "CLIP BPE",
        "preprocessing": _preprocessing(preprocessing),
        "weights_from": place,
        "cached": form != "hf-hub",
    }


def _preprocessing(overrides: dict[str, Any]) -> dict[str, object]:
    config = open_clip.transform.merge_preprocess_dict(open_clip.transform.PreprocessCfg(), overrides)
    return {key: list(v) if isinstance(v := config[key], tuple) else v for key in
            ("mean", "std", "interpolation", "resize_mode")}  # fmt: skip
