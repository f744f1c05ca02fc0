"""Tokenizers from their files alone, against those that open_clip makes of the same files with transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.tokenizing import GEMMA, gemma, saved, unigram
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from zsretrieve.encoders.text.sources import Words, clip_tokenizer, tokenizer_of_files, words_of
from zsretrieve.encoders.text.tokenizer import InexactTokenizerError, TextTokenizer

ODD = [
    "", " ", "▁a ▁ b", "a photo of a cat.", "A Photo, of_a  {CAT}!? 'tis it's I'LL 12 1234",
    "&amp;lt;b&gt; tab\tnew\nline \x07",
    "Ünïcode ﬁne “quotes” schÃ¶n, 日本語のテキスト, שלום, नमस्ते ½ ²", "🙂👩‍👩‍👧 e\u0301 \u200b \ufeff \u00a0 \u3000x",
    "<start_of_text> <end_of_text> <|endoftext|> </s> <pad> <unk> <bos><eos> <extra_id_0>",
    "antidisestablishmentarianism" * 3, "red circle and blue square, " * 60,
]  # fmt: skip
SIGLIP = {"clean": "canonicalize", "context_length": 64}


T5 = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>", "extra_ids": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made = {
        "t5": saved(root / "t5", unigram(pre_tokenizers.Metaspace()), **T5),
        "t5-split": saved(root / "t5-split", unigram(split), **T5),
        "gemma": saved(root / "gemma", gemma(), **GEMMA),
    }
    made["plain"] = root / "plain"
    PreTrainedTokenizerFast(tokenizer_object=gemma(), pad_token="<pad>", eos_token="<eos>").save_pretrained(
        root / "plain"
    )
    return made


def words(**options: Any) -> Words:
    context = options.pop("context_length")
    return words_of({"hf_tokenizer_name": "local", "context_length": context, "tokenizer_kwargs": options})


def same(ours: TextTokenizer, theirs: Any, texts: list[str]) -> None:
    assert ours.padded(ours.ids(texts), ours.context_length).tolist() == theirs(texts).tolist()


@pytest.mark.parametrize("name", ["t5", "t5-split", "gemma", "plain"])
def test_tokens_are_those_of_transformers(folders: dict[str, Path], name: str) -> None:
    ours, theirs = tokenizer_of_files(folders[name], words(**SIGLIP)), HFTokenizer(str(folders[name]), **SIGLIP)
    same(ours, theirs, ODD)

    @settings(deadline=None, max_examples=60)
    @given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4))
    def any_text(texts: list[str]) -> None:
        same(ours, theirs, texts)

    any_text()


def test_separators_are_zeroed_where_asked(folders: dict[str, Path], tmp_path: Path) -> None:
    options = {"strip_sep_token": True, "context_length": 12}
    folder = saved(tmp_path, gemma(), tokenizer_class="PreTrainedTokenizerFast", pad_token="<pad>", sep_token="<eos>")
    same(tokenizer_of_files(folder, words(**options)), HFTokenizer(str(folder), **options), ODD)


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_clip_s_own_needs_no_open_clip(clean: str) -> None:
    ours = clip_tokenizer(words_of({"context_length": 20, "tokenizer_kwargs": {"clean": clean}}))
    same(ours, SimpleTokenizer(context_length=20, clean=clean), ODD)


def test_every_architecture_is_described_as_open_clip_makes_it() -> None:
    plain = [
        arch
        for arch in open_clip.list_models()
        if "hf_tokenizer_name" not in open_clip.get_model_config(arch)["text_cfg"]
    ]
    assert len(plain) > 80
    for arch in plain:
        config = open_clip.get_model_config(arch)["text_cfg"]
        if "tokenizer_kwargs" in config:
            theirs = open_clip.get_tokenizer(arch)
            assert words_of(config).context_length == theirs.context_length
    for arch in ("ViT-B-16-SigLIP-256", "ViT-B-16-SigLIP2-256", "ViT-L-14-CLIPA"):
        config = open_clip.get_model_config(arch)["text_cfg"]
        assert words_of(config).described.startswith("HFTokenizer:")
    assert words_of(open_clip.get_model_config("ViT-B-32")["text_cfg"]).described == "SimpleTokenizer:lower"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tokenizer_class": "BertTokenizer"}, "needs transformers"),
        ({"tokenizer_class": None}, "needs transformers"),
        ({"padding_side": "left"}, "on the left"),
        ({"padding_side": None}, "on the left"),
        ({"add_bos_token": True}, "in two ways"),
        ({"add_eos_token": False}, "in two ways"),
        ({"tokenizer_class": "T5Tokenizer"}, "not that of a T5Tokenizer"),
        ({"pad_token": "<nothing>"}, "does not have the tokens"),
    ],
)
def test_what_may_differ_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    config = {key: value for key, value in {**GEMMA, **change}.items() if value is not None}
    with pytest.raises(InexactTokenizerError, match=why):
        tokenizer_of_files(saved(tmp_path, gemma(), **config), words(**SIGLIP))


def test_options_that_are_unknown_are_refused(folders: dict[str, Path]) -> None:
    for config in ({"tokenizer_kwargs": {"reduction_mask": "simple"}}, {"tokenizer_mode": "clips"}):
        with pytest.raises(InexactTokenizerError, match="options of its own"):
            words_of(config)
    with pytest.raises(InexactTokenizerError, match="GemmaTokenizer"):
        tokenizer_of_files(folders["gemma"], words(clean="lower", context_length=64))
    with pytest.raises(InexactTokenizerError, match="cleans texts in its own way"):
        tokenizer_of_files(folders["plain"], words(clean="bleach", context_length=64))
