"""Small tokenizers of the kinds that models are published with, trained on the names of the demo's classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer

from zsretrieve.demo import scenes

GEMMA = {
    "tokenizer_class": "GemmaTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>",
    "pad_token": {"content": "<pad>", "__type": "AddedToken"}, "add_bos_token": False, "add_eos_token": True,
    "padding_side": "right",
}  # fmt: skip


def unigram(splits: Any) -> Tokenizer:
    """As SigLIP's: sentencepiece's Unigram, which ends and pads with </s>."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = splits
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([*scenes.class_names(), "a photo of 12 日本語 ünï"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def gemma() -> Tokenizer:
    """As SigLIP 2's: Gemma's BPE, which falls back to bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.train_from_iterator(
        scenes.class_names(), trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer


def saved(folder: Path, tokenizer: Tokenizer, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def clip() -> CLIPTokenizer:
    """As CLIP's: bytes within a word and at its end, a few merges, and the two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "i"), ("ci", "r"), ("cir", "c"), ("r", "e"), ("re", "d</w>"), ("a", "n"), ("an", "d</w>")]
    words = [
        *alphabet,
        *(f"{char}</w>" for char in alphabet),
        *map("".join, merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)
