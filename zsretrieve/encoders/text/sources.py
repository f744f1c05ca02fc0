"""The tokenizers of open_clip's and transformers' models from their files, without open_clip and transformers."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve.encoders.text.tokenizer import InexactTokenizerError, TextTokenizer

_MERGES = Path(__file__).with_name("clip_merges.txt.gz")
_CONTEXT = 77
# Classes that use tokenizer.json as it is.
_PLAIN = ("PreTrainedTokenizer", "TokenizersBackend")
# Those that take only the vocabulary from it and have the other parts themselves: what the model in it must say, how a
# text is split, and how it is normalised where they have that themselves.
_METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
_REBUILT: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]] = {
    "T5Tokenizer": (
        {"type": "Unigram", "unk_id": 2},
        {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]},
        None,
    ),
    "GemmaTokenizer": (
        {"type": "BPE", "byte_fallback": True, "fuse_unk": True},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ),
}
_SIGLIP, _CLIP = "SiglipTokenizer", "CLIPTokenizer"
_START, _END = "<|startoftext|>", "<|endoftext|>"
_MARKS = {
    "T5Tokenizer": ("<s>", "</s>", "<pad>"),
    "GemmaTokenizer": ("<bos>", "<eos>", "<pad>"),
    _SIGLIP: (None, "</s>", "</s>"),
    _CLIP: (_START, _END, _END),
}
# Of transformers' class for CLIP, which takes only vocabulary and merges from its files.
_CLIP_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Lowercase"},
    ],
}
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLIP_SPLITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": _CLIP_WORDS}, "behavior": "Removed", "invert": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


@dataclass(frozen=True)
class Words:
    """How a configuration wants texts cut into tokens.

    ``repository`` is empty for CLIP's own tokenizer, and names the one that has the files of any other. ``usual`` is
    the class of tokenizers that do not name theirs.
    """

    context_length: int
    repository: str
    clean: str
    strip_sep_token: bool
    usual: str = ""

    @property
    def described(self) -> str:
        """The tokenizer's name in an embedding space."""
        return f"{'HFTokenizer' if self.repository else 'SimpleTokenizer'}:{self.clean}"


def words_of(config: dict[str, Any]) -> Words:
    """What a ``text_cfg`` asks for. Raises InexactTokenizerError for what is not known here."""
    options = dict(config.get("tokenizer_kwargs") or {})
    repository = config.get("hf_tokenizer_name") or ""
    clean = str(options.pop("clean", "whitespace" if repository else "lower"))
    strip = bool(options.pop("strip_sep_token", False)) if repository else False
    if options or config.get("tokenizer_mode"):
        raise InexactTokenizerError(f"it has options of its own: {', '.join(options) or config['tokenizer_mode']}")
    return Words(int(config.get("context_length", _CONTEXT)), str(repository), clean, strip)


def clip_tokenizer(words: Words) -> TextTokenizer:
    """CLIP's byte-pair encoding, with the vocabulary that OpenAI published."""
    merges = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").splitlines()
    return TextTokenizer.of_clip(merges, words.context_length, words.clean)


def tokenizer_of_files(folder: Path, words: Words) -> TextTokenizer:
    """The tokenizer that transformers would make of ``tokenizer.json`` and ``tokenizer_config.json``.

    That of CLIP may be in ``vocab.json`` and ``merges.txt`` instead of the first.

    Raises
    ------
    InexactTokenizerError
        If it would be another than the one that ``tokenizer.json`` describes, or may be.
    OSError, ValueError
        If a file cannot be read or is not valid.
    """
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    kind = str(config.get("tokenizer_class") or words.usual).removesuffix("Fast")
    whole = kind != _CLIP or (folder / "tokenizer.json").exists()
    content = (
        json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")) if whole else _of_merges(folder, config)
    )
    bos, eos, pad = (
        _content(config.get(key, usual))
        for key, usual in zip(("bos_token", "eos_token", "pad_token"), _MARKS.get(kind, (None,) * 3), strict=True)
    )
    wanted = None
    if "add_bos_token" in config or "add_eos_token" in config:
        wanted = [bos] * bool(config.get("add_bos_token")) + [None] + [eos] * bool(config.get("add_eos_token"))
    if kind in _REBUILT:
        content |= _rebuilt(kind, content, words)
        wanted = [None, eos] if kind == "T5Tokenizer" else wanted
    elif kind == _CLIP:
        content |= _clip_parts(content["model"], str(bos), str(eos), str(_content(config.get("unk_token", _END))))
        wanted = None
    elif kind == _SIGLIP:
        if words.clean != "none":
            raise InexactTokenizerError(f"a {kind} cleans texts itself")
    elif kind not in _PLAIN:
        raise InexactTokenizerError(f"a {kind or 'tokenizer without a class'} needs transformers")
    if wanted is not None and _marks_around(content.get("post_processor") or {}) != wanted:
        raise InexactTokenizerError("it marks the ends of a text in two ways")
    sides = {str(config.get("padding_side", "left" if kind == "GemmaTokenizer" else "right"))}
    if sides | {str(config.get("truncation_side", "right"))} != {"right"}:
        raise InexactTokenizerError("it pads or cuts on the left")
    if pad is None:
        raise InexactTokenizerError("it has no token for padding")
    return TextTokenizer.of_rust(
        json.dumps(content, ensure_ascii=False),
        words.context_length,
        pad=pad,
        clean="siglip" if kind == _SIGLIP else words.clean,
        zeroed=_content(config.get("sep_token")) if words.strip_sep_token else None,
        special_as_text=bool(config.get("split_special_tokens", False)),
    )


def _rebuilt(kind: str, content: dict[str, Any], words: Words) -> dict[str, Any]:
    """The parts of a tokenizer that its class has itself. Raises InexactTokenizerError if it may differ elsewhere."""
    model, splits, normalizer = _REBUILT[kind]
    # Without punctuation, no text holds the name of a special token, for which they may; transformers' own are compared
    # with such texts in the tests.
    if words.clean not in ("canonicalize", "none") or any(
        content["model"].get(key) != value for key, value in model.items()
    ):
        raise InexactTokenizerError(f"its tokenizer.json is not that of a {kind}")
    if normalizer is None:
        given = content.get("normalizer") or {}
        steps = given["normalizers"] if given.get("type") == "Sequence" else [given]
        normalizer = next((step for step in steps if step.get("type") == "Precompiled"), None)
    return {"normalizer": normalizer, "pre_tokenizer": splits}


def _of_merges(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """CLIP's vocabulary, merges and special tokens, as ``tokenizer.json`` would have them."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    marks = {}
    for key, usual in (("bos_token", _START), ("eos_token", _END), ("unk_token", _END), ("pad_token", _END)):
        mark = config.get(key, usual)
        given = mark if isinstance(mark, dict) else {"content": mark}
        flags = {flag: bool(given.get(flag, False)) for flag in ("single_word", "lstrip", "rstrip", "normalized")}
        name = given["content"]
        marks[name] = {"id": vocabulary[name], "content": name, **flags, "special": True}
    added = sorted(marks.values(), key=lambda mark: int(mark["id"]))
    return {"version": "1.0", "added_tokens": added, "model": {"vocab": vocabulary, "merges": merges}}


def _clip_parts(model: dict[str, Any], bos: str, eos: str, unknown: str) -> dict[str, Any]:
    """All but the added tokens of the tokenizer that transformers makes for CLIP of a vocabulary and merges."""
    numbers = model["vocab"]
    if bos not in numbers or eos not in numbers:
        raise InexactTokenizerError(f"its vocabulary does not have {bos} and {eos}")
    return {
        "truncation": None,
        "padding": None,
        "normalizer": _CLIP_NORMALIZER,
        "pre_tokenizer": _CLIP_SPLITS,
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [eos, numbers[eos]],
            "cls": [bos, numbers[bos]],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": numbers,
            "merges": model["merges"],
        },
    }


def _marks_around(template: dict[str, Any]) -> list[str | None] | None:
    """The special tokens that a template puts around a text, None for the text itself; None for anything else."""
    if template.get("type") != "TemplateProcessing":
        return None
    return [part["SpecialToken"]["id"] if "SpecialToken" in part else None for part in template["single"]]


def _content(token: Any) -> str | None:
    """A special token as configurations write it."""
    return str(token["content"]) if isinstance(token, dict) else token
