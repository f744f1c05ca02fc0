"""Token for token what open_clip's tokenizers give."""

from __future__ import annotations

import html
import json
import string
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, get_clean_fn
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from zsretrieve.demo import scenes
from zsretrieve.domain import prompts
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER
from zsretrieve.encoders.text import cleaning
from zsretrieve.encoders.text.tokenizer import InexactTokenizerError, TextTokenizer

FRAGMENTS = [
    *("<start_of_text>", "<END_OF_TEXT>", "<end_of_text>", "<pad>", "</s>", "[SEP]", "<unk>", "<s>", "&amp;", "&#1;"),
    *("'s", "'LL", "'", "_", "{}", "1234", "½²", "\n", "\t", "\x1c", "\x85", "\u2028", "\u200b", "\ufeff", "\x00"),
    *(
        "日本語のテキスト",
        "Straße \u017f K İI",
        "e\u0301",
        "schÃ¶n",
        "ﬁ “q”",
        "🙂👩‍👩‍👧",
        "नमस्ते",
        "\u017ftraße",
        "a" * 200,
        "the cat " * 90,
    ),
]
CHARACTERS = st.text(max_size=40) | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zs", "Lm", "No"]), max_size=12)
ANYTHING = st.lists(CHARACTERS | st.sampled_from(FRAGMENTS), max_size=6).map("".join)
PRINTABLE = st.text(string.ascii_letters + string.digits + string.punctuation + " ", max_size=80)

property_test = settings(deadline=None, max_examples=150)


def same(ours: TextTokenizer, theirs: Any, texts: list[str]) -> None:
    expected = theirs(texts).numpy()
    ids = ours.ids(texts)
    assert all(one.dtype == np.int64 and one.ndim == 1 for one in ids)
    np.testing.assert_array_equal(ours.padded(ids, ours.context_length), expected)


# Small tokenizers of the kinds that open_clip's models use; the real ones' files are on a hub.


def _corpus() -> list[str]:
    return [*scenes.class_names(), "a photo of the number 12, it's 3.5 metres", "Ünïcode 日本語", string.printable]


def _unigram() -> tuple[Tokenizer, dict[str, str]]:
    """As SigLIP's: sentencepiece's Unigram, ended and filled up with </s>."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        _corpus(),
        trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer, {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}


def _byte_fallback() -> tuple[Tokenizer, dict[str, str]]:
    """As SigLIP2's: Gemma's BPE, which falls back to bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.train_from_iterator(
        scenes.class_names(), trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    tokenizer.decoder = decoders.ByteFallback()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer, {"eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<bos>"}


def _word_piece() -> tuple[Tokenizer, dict[str, str]]:
    """As CLIPA's: BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        _corpus(), trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer, {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def _roberta() -> tuple[Tokenizer, dict[str, str]]:
    """As RoBERTa's: bytes, with a start and an end, and a word added that takes the space before it."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "unigram": (_unigram, {"clean": "canonicalize", "context_length": 64}),
    "byte-fallback": (_byte_fallback, {"clean": "canonicalize", "context_length": 64}),
    "word-piece": (_word_piece, {"strip_sep_token": True, "context_length": 32}),
    "roberta": (_roberta, {"clean": "whitespace", "context_length": 20}),
    "roberta-lower": (_roberta, {"clean": "lower", "context_length": 20}),
}


@pytest.fixture(scope="module")
def hub_tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HFTokenizer]:
    made = {}
    for name, (make, options) in KINDS.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer, special = make()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
        made[name] = HFTokenizer(str(folder), **options)
    return made


@pytest.fixture(scope="module", params=["clip", "clip-whitespace", "coca", *KINDS])
def pair(
    request: pytest.FixtureRequest, hub_tokenizers: dict[str, HFTokenizer], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TextTokenizer, Any]:
    """Ours, written and read again, and open_clip's."""
    simple = {
        "clip": lambda: SimpleTokenizer(),
        "clip-whitespace": lambda: SimpleTokenizer(clean="whitespace"),
        "coca": lambda: SimpleTokenizer(context_length=16),
    }
    theirs = simple[request.param]() if request.param in simple else hub_tokenizers[request.param]
    folder = tmp_path_factory.mktemp("saved")
    TextTokenizer.from_openclip(theirs).save(folder)
    return TextTokenizer.load(folder), theirs


def test_80_000_prompts() -> None:
    theirs = SimpleTokenizer()
    names = prompts.read_classes("imagenet1k", provide)
    templates = prompts.read_templates("openai80", provide)
    texts = [template.replace("{}", name) for name in names.names for template in templates.templates]
    assert len(texts) == 80_000
    same(TextTokenizer.from_openclip(theirs), theirs, texts)


def test_plain_texts(pair: tuple[TextTokenizer, Any]) -> None:
    texts = [f"A photo of a {name}." for name in scenes.class_names()]
    same(*pair, [*texts, *FRAGMENTS, "", " "])


@property_test
@given(texts=st.lists(ANYTHING, min_size=1, max_size=4))
def test_any_text(pair: tuple[TextTokenizer, Any], texts: list[str]) -> None:
    same(*pair, texts)


@property_test
@given(text=PRINTABLE)
def test_printable_text(pair: tuple[TextTokenizer, Any], text: str) -> None:
    same(*pair, [text])


@property_test
@given(text=ANYTHING)
def test_counts_are_those_before_the_cut(pair: tuple[TextTokenizer, Any], text: str) -> None:
    ours, theirs = pair
    if isinstance(theirs, SimpleTokenizer):
        expected = len(theirs.encode(text)) + 2
    else:
        expected = len(theirs.tokenizer(theirs.clean_fn(text)).input_ids)
    assert ours.counts([text]) == [expected]
    assert len(ours.ids([text])[0]) == min(expected, ours.context_length)


@property_test
@given(text=ANYTHING)
def test_cleaning(text: str) -> None:
    for name in ("lower", "whitespace", "canonicalize"):
        assert cleaning.CLEANERS[name](text) == get_clean_fn(name)(text)


@property_test
@given(text=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="&")))
def test_printable_ascii_needs_no_repair(text: str) -> None:
    assert html.unescape(html.unescape(ftfy.fix_text(text))) == text


def test_the_bundled_model_s_tokenizer(tmp_path: Path) -> None:
    theirs = open_clip.get_tokenizer(f"local-dir:{DEMO_FOLDER}")
    ours = TextTokenizer.from_openclip(theirs)
    same(ours, theirs, [*scenes.class_names(), *FRAGMENTS])


def test_nothing_and_too_narrow() -> None:
    ours = TextTokenizer.from_openclip(SimpleTokenizer())
    assert ours.ids([]) == []
    assert ours.counts([]) == []
    assert ours.padded([], 5).shape == (0, 5)
    ids = ours.ids(["a cat", "a"])
    np.testing.assert_array_equal(ours.padded(ids, 4), [[49406, 320, 2368, 49407], [49406, 320, 49407, 0]])
    with pytest.raises(ValueError, match="4 tokens do not fit into 3"):
        ours.padded(ids, 3)


def test_what_cannot_be_reproduced_is_refused(
    hub_tokenizers: dict[str, HFTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({"reduction_mask": "random"}, {"additional_special_tokens": ["<more>"]}):
        with pytest.raises(InexactTokenizerError):
            TextTokenizer.from_openclip(SimpleTokenizer(**options))
    other_clean = SimpleTokenizer()
    other_clean.clean_fn = str.upper
    with pytest.raises(InexactTokenizerError, match="cleans texts"):
        TextTokenizer.from_openclip(other_clean)
    with pytest.raises(InexactTokenizerError, match="type str are unknown"):
        TextTokenizer.from_openclip("tokenizer")
    hub = hub_tokenizers["roberta"]
    with monkeypatch.context() as patch:
        patch.setattr(hub, "tokenizer_mode", "clips")
        with pytest.raises(InexactTokenizerError, match="clips"):
            TextTokenizer.from_openclip(hub)
    for side in ("padding_side", "truncation_side"):
        with monkeypatch.context() as patch:
            patch.setattr(hub.tokenizer, side, "left")
            with pytest.raises(InexactTokenizerError, match="left"):
                TextTokenizer.from_openclip(hub)
    with monkeypatch.context() as patch:
        patch.setattr(hub, "tokenizer", ByT5Tokenizer())
        with pytest.raises(InexactTokenizerError, match="no Rust tokenizer"):
            TextTokenizer.from_openclip(hub)


def test_a_difference_that_shows_in_a_trial_is_refused() -> None:
    class Odd(SimpleTokenizer):
        def encode(self, text: str) -> list[int]:
            return super().encode(text)[::-1]

    Odd.__name__ = "SimpleTokenizer"
    with pytest.raises(InexactTokenizerError, match="differ"):
        TextTokenizer.from_openclip(Odd())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("clean"),
        lambda content: content.update(clean="upper"),
        lambda content: content.update(model={"kind": "rust", "special_as_text": False}),
        lambda content: content.update(model=None),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: Any) -> None:
    TextTokenizer.from_openclip(SimpleTokenizer()).save(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    file = tmp_path / "text.json"
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError):  # noqa: PT011 - each kind of damage says its own
        TextTokenizer.load(tmp_path)
    file.write_text("{")
    with pytest.raises(ValueError):  # noqa: PT011
        TextTokenizer.load(tmp_path)
    file.unlink()
    with pytest.raises(OSError, match="No such file"):
        TextTokenizer.load(tmp_path)
