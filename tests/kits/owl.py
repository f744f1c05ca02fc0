"""Small OWL-ViT and OWLv2 models: transformers' own classes and processors, random weights from a fixed seed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import transformers

from kits.tokenizing import clip

KINDS = {"owlvit": "OwlViT", "owlv2": "Owlv2"}
SIDE, PATCH, CONTEXT = 64, 16, 16


def write_owl(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a model of a family, with its processor, into ``folder``."""
    kind = KINDS[family]
    tokenizer = clip()
    tokenizer.model_max_length = CONTEXT
    tokenizer.pad_token = "!"  # as OWL's own
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = getattr(transformers, f"{kind}Config")(
        text_config={
            **tower,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": CONTEXT,
            "pad_token_id": 0,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={**tower, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=32,
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "head" in name:  # initial weights are so large that all boxes would be 0 or 1
                parameter.mul_(0.2)
    model.save_pretrained(folder)
    images = getattr(transformers, f"{kind}ImageProcessor")(size={"height": SIDE, "width": SIDE})
    getattr(transformers, f"{kind}Processor")(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def opened(folder: Path) -> tuple[Any, Any]:
    """The model and the processor as transformers' guides open them."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    return transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval(), processor
