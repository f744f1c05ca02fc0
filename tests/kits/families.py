"""One small model of every family of open_clip's: real architecture classes, random weights from a fixed seed.

Widths and depths are cut where a configuration allows it; timm's models have them by name, so the smallest of each
kind is taken, at the smallest picture it accepts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kits.models import write_config

_TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_SIGLIP_TEXT: dict[str, Any] = {
    "context_length": 64,
    "vocab_size": 600,
    "hf_tokenizer_name": "local",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "width": 64,
    "heads": 2,
    "layers": 2,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
_SIGLIP_PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def _timm(name: str, image_size: int, pool: str, proj: str | None) -> dict[str, Any]:
    return {
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": proj,
        "image_size": image_size,
    }


FAMILIES: dict[str, dict[str, Any]] = {
    "clip-vit": {
        "model_cfg": {
            "embed_dim": 32,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
            "text_cfg": _TEXT,
        },
    },
    "clip-resnet": {
        "model_cfg": {
            "embed_dim": 48,
            "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
            "text_cfg": _TEXT,
        },
    },
    "siglip": {
        "model_cfg": {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": _timm("test_vit", 160, "map", "none"),
            "text_cfg": _SIGLIP_TEXT,
        },
        "preprocess_cfg": _SIGLIP_PREPROCESSING,
    },
    "siglip2": {
        "model_cfg": {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": _timm("test_vit", 160, "map", "none"),
            "text_cfg": {**_SIGLIP_TEXT, "act_kwargs": {"approximate": "tanh"}},
        },
        "preprocess_cfg": _SIGLIP_PREPROCESSING,
    },
    "mobileclip-b": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": _timm("fastvit_mci0", 64, "avg", None),
            "text_cfg": {**_TEXT, "no_causal_mask": False},
        },
        "preprocess_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    },
    "mobileclip-s": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": _timm("fastvit_mci0", 64, "avg", None),
            "text_cfg": {**_TEXT, "no_causal_mask": True},
        },
        "preprocess_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    },
    "convnext": {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": _timm("test_convnext", 64, "", "linear"),
            "text_cfg": _TEXT,
        },
    },
    "eva02": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": _timm("eva02_tiny_patch14_224", 224, "token", None),
            "text_cfg": _TEXT,
        },
    },
    "pe-core": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": _timm("vit_pe_core_tiny_patch16_384", 384, "map", None),
            "text_cfg": {**_TEXT, "context_length": 32},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"},
    },
    "coca": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 64,
                "layers": 2,
                "width": 64,
                "head_width": 32,
                "patch_size": 16,
                "attentional_pool": True,
                "attn_pooler_heads": 2,
                "output_tokens": True,
            },
            "text_cfg": {**_TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {
                "context_length": 76,
                "vocab_size": 49408,
                "width": 32,
                "heads": 2,
                "layers": 1,
                "attn_pooler_heads": 2,
            },
        },
    },
}

# Families whose text tower sees only what stands before a token, and those whose does not.
CAUSAL = ("clip-vit", "clip-resnet", "mobileclip-b", "convnext", "eva02", "pe-core", "coca")
NOT_CAUSAL = ("siglip", "siglip2", "mobileclip-s")


def write_family(name: str, folder: Path, seed: int = 0) -> Path:
    """Write one of ``FAMILIES`` with random weights into ``folder``."""
    return write_config(FAMILIES[name], folder, seed)
