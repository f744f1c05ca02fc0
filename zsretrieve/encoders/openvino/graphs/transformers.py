"""Models in transformers' layout: their towers as plans, images and texts, and their weights under open_clip's names.

A ``config.json`` also lists much that has no effect on vectors, so only what the classes of transformers read is read
here. What it leaves out has the values that those classes have.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from zsretrieve.encoders.catalog import plan as open_clip
from zsretrieve.encoders.catalog.plan import Blocks, ImagePlan, OutsideError, Plan, TextPlan
from zsretrieve.encoders.openvino.graphs.weights import Stored
from zsretrieve.encoders.text import sources
from zsretrieve.encoders.text.sources import Words

_TYPE = "model_type"
_USUAL: dict[str, dict[str, Any]] = {
    "clip": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12},
    "siglip": {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_hidden_layers": 12},
}
_USUAL_IMAGE: dict[str, dict[str, Any]] = {
    "clip": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 32},
    "siglip": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 16},
}
_USUAL_TEXT: dict[str, dict[str, Any]] = {
    "clip": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408,
             "max_position_embeddings": 77, "eos_token_id": 49407},
    "siglip": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "vocab_size": 32000,
               "max_position_embeddings": 64},
}  # fmt: skip
_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}
# Configurations from before transformers knew which token ends a text have this one, and pool at the highest.
_UNKNOWN_END = 2
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_USUAL_PIXELS: dict[str, dict[str, Any]] = {
    "clip": {"image_mean": _MEAN, "image_std": _STD, "size": {"shortest_edge": 224}, "do_center_crop": True,
             "crop_size": {"height": 224, "width": 224}},
    "siglip": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 224, "width": 224}},
}  # fmt: skip
_RESAMPLE = {2: "bilinear", 3: "bicubic"}
_KINDS = ("weight", "bias")


def is_theirs(config: dict[str, Any]) -> bool:
    """Whether a ``model_cfg`` is that of a model in transformers' layout."""
    return _TYPE in config


def plan_of(config: dict[str, Any]) -> Plan:
    """The towers of a ``model_cfg`` in either layout. Raises what ``plan.plan_of`` raises."""
    if not is_theirs(config):
        return open_clip.plan_of(config)
    kind = _kind(config)
    image, text = _tower(config, "vision_config", _USUAL_IMAGE), _tower(config, "text_config", _USUAL_TEXT)
    is_clip = kind == "clip"
    if not is_clip and not image.get("vision_use_head", True):
        raise OutsideError("its image tower has no head")
    if int(image.get("num_channels", 3)) != 3:
        raise OutsideError(f"its images have {image['num_channels']} channels")
    dim = int(config.get("projection_dim", 512)) if is_clip else int(image["hidden_size"])
    text_dim = dim if is_clip else int(text.get("projection_size") or text["hidden_size"])
    if text_dim != dim:
        raise OutsideError(f"its images have {dim} dimensions, and its texts {text_dim}")
    blocks = _blocks(image)
    end_id = int(text.get("eos_token_id") or _UNKNOWN_END) if is_clip else 0
    side, patch = image.get("image_size", 224), image["patch_size"]
    if not isinstance(side, int) or not isinstance(patch, int):
        raise OutsideError("its images or patches are not square")
    return Plan(
        image=ImagePlan((side, side), (patch, patch), blocks, dim, "tok" if is_clip else "map", norm_before=is_clip),
        text=TextPlan(
            context=int(text["max_position_embeddings"]),
            vocabulary=int(text["vocab_size"]),
            blocks=_blocks(text),
            dim=dim,
            masked=is_clip,
            pool=("argmax" if end_id == _UNKNOWN_END else "eos") if is_clip else "last",
            end_id=end_id,
            projection="matrix" if is_clip else "linear",
        ),
        activation="quick_gelu" if blocks.activation == "quick_gelu" else "gelu",
        custom_text=False,
        has_bias=not is_clip,
    )


def words_of(config: dict[str, Any], repository: str) -> Words:
    """How a ``model_cfg`` in either layout wants texts cut into tokens; transformers' is beside the model itself.

    Raises InexactTokenizerError for what is not known here.
    """
    if not is_theirs(config):
        return sources.words_of(config["text_cfg"])
    context = _tower(config, "text_config", _USUAL_TEXT)["max_position_embeddings"]
    usual = "CLIPTokenizer" if _kind(config) == "clip" else "SiglipTokenizer"
    return Words(int(context), repository, "none", strip_sep_token=False, usual=usual)


def images_of(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """How transformers prepares images, named as in a ``preprocess_cfg`` of open_clip's.

    Parameters
    ----------
    config, given : dict
        The contents of ``config.json`` and ``preprocessor_config.json``.

    Raises
    ------
    OutsideError
        If it gives images of another size than the tower takes, or does what is not known here.
    """
    side = plan_of(config).image.size[0]
    given = _USUAL_PIXELS[_kind(config)] | {key: value for key, value in given.items() if value is not None}
    for key in ("do_resize", "do_rescale"):
        if not given.get(key, True):
            raise OutsideError(f"its images are prepared with {key}: false")
    if given.get("do_pad") or not math.isclose(given.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-6):
        raise OutsideError("its images are padded or scaled in a way of its own")
    size, square = _sides(given["size"]), (side, side)
    cropped = given.get("do_center_crop", False)
    fits = not cropped or _sides(given["crop_size"]) in ((side,), square)
    if size == square and fits:
        mode = "rgb-squash"
    elif size == (side,) and cropped and fits:
        mode = "rgb-shortest"
    else:
        raise OutsideError(f"its images are resized to {given['size']}, and its tower takes {side} x {side} pixels")
    resample = given.get("resample", 3)
    if resample not in _RESAMPLE:
        raise OutsideError(f"its images are resized with the filter {resample}")
    scaled = given.get("do_normalize", True)
    return {
        "mean": given["image_mean"] if scaled else [0.0] * 3,
        "std": given["image_std"] if scaled else [1.0] * 3,
        "interpolation": _RESAMPLE[resample],
        "resize_mode": mode,
        "fill_color": 0,
    }


def _sides(size: Any) -> tuple[int, ...]:
    """Height and width, or the shorter side alone."""
    if isinstance(size, int):
        return (size,)
    if size.get("height"):
        return int(size["height"]), int(size["width"])
    return () if size.get("longest_edge") else (int(size["shortest_edge"]),)


def _kind(config: dict[str, Any]) -> str:
    kind = str(config[_TYPE])
    if kind not in _USUAL:
        raise OutsideError(f"of transformers' models, clip and siglip are known here, and it is of the type {kind}")
    return kind


def _tower(config: dict[str, Any], key: str, usual: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The settings of a tower. An older, second record of them takes the place of the first, as in transformers."""
    kind = _kind(config)
    second = config.get(f"{key}_dict") if kind == "clip" else None
    return _USUAL[kind] | usual[kind] | ((config.get(key) if second is None else second) or {})


def _blocks(config: dict[str, Any]) -> Blocks:
    layers, width, heads = (int(config[key]) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    activation = _ACTIVATIONS.get(config["hidden_act"])
    if activation is None:
        raise OutsideError(f"its activation is {config['hidden_act']}")
    if layers < 1 or heads < 1 or width % heads:
        raise OutsideError(f"it has {layers} layers of {heads} heads")
    return Blocks(layers, width, heads, int(config["intermediate_size"]), activation, float(config["layer_norm_eps"]))


# What of transformers' names becomes what of open_clip's or timm's, in order. Weights of queries, keys and values are
# stored one by one, and keep the number of their part.
_PARTS = (("q_proj", 0), ("k_proj", 1), ("v_proj", 2))
_OPEN_CLIP = (
    *((f"self_attn.{name}.{kind}", f"attn.in_proj_{kind}.{part}") for name, part in _PARTS for kind in _KINDS),
    ("self_attn.", "attn."),
    ("layer_norm", "ln_"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)
_TIMM = (
    *((f"self_attn.{name}.{kind}", f"attn.qkv.{kind}.{part}") for name, part in _PARTS for kind in _KINDS),
    ("self_attn.out_proj", "attn.proj"),
    ("layer_norm", "norm"),
)
_TEXT = (
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_model.head.", "text_projection."),
    *_OPEN_CLIP,
)
_IMAGE = {
    "clip": (
        ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
        ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
        ("vision_model.embeddings.patch_embedding", "visual.conv1"),
        ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
        ("vision_model.pre_layrnorm", "visual.ln_pre"),
        ("vision_model.post_layernorm", "visual.ln_post"),
        *_OPEN_CLIP,
    ),
    "siglip": (
        ("vision_model.encoder.layers.", "visual.trunk.blocks."),
        ("vision_model.embeddings.patch_embedding", "visual.trunk.patch_embed.proj"),
        ("vision_model.embeddings.position_embedding.weight", "visual.trunk.pos_embed"),
        ("vision_model.post_layernorm", "visual.trunk.norm"),
        ("vision_model.head.probe", "visual.trunk.attn_pool.latent"),
        ("vision_model.head.attention.out_proj", "visual.trunk.attn_pool.proj"),
        ("vision_model.head.layernorm", "visual.trunk.attn_pool.norm"),
        ("vision_model.head.", "visual.trunk.attn_pool."),
        *_TIMM,
    ),
}
_TURNED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


def renamed(config: dict[str, Any], tensors: dict[str, Stored]) -> dict[str, Stored]:
    """The tensors of a model of clip or siglip under the names of open_clip or timm, and in their shapes there."""
    made: dict[str, Stored] = {}
    for name, stored in tensors.items():
        values = stored.values
        if name in _TURNED:
            made[_TURNED[name]] = replace(stored, values=np.ascontiguousarray(values.T))
            continue
        new = name
        for old, theirs in _TEXT if name.startswith("text_model.") else _IMAGE[_kind(config)]:
            new = new.replace(old, theirs)
        if ".attn_pool.attention.in_proj_" in new:
            place, _, kind = new.partition("attention.in_proj_")
            width = len(values) // 3
            made[f"{place}q.{kind}"] = replace(stored, values=values[:width])
            made[f"{place}kv.{kind}"] = replace(stored, values=values[width:])
        else:
            made[new] = replace(stored, values=values[None]) if new == "visual.trunk.pos_embed" else stored
    return made
