"""Tokens as open_clip's tokenizers make them, without loading open_clip, transformers or torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.arguments import check_texts
from zsretrieve.encoders.text import cleaning
from zsretrieve.encoders.text.clip_bpe import PATTERN, ClipBpe

Ids = NDArray[np.int64]

_FILE = "text.json"
_RUST_FILE = "tokenizer.json"
_RUST_MODULE = "transformers.tokenization_utils_tokenizers"
# Both tokenizers must agree on these before ours takes the place of open_clip's.
_PROBES = (
    "",
    " ",
    "a photo of a cat.",
    "A Photo, of_a  {CAT}!? 'tis it's I'LL 12 1234",
    "&amp;lt;b&gt; tab\tnew\nline \x07 \x1b[0m",
    "Ünïcode ﬁne “quotes” schÃ¶n, 日本語のテキスト, שלום, नमस्ते ½ ²",
    "🙂👩‍👩‍👧 e\u0301 \u200b \ufeff \u00a0 \udc80",
    "<start_of_text> <end_of_text> <|endoftext|> <s> </s> <pad> <unk> [CLS] [SEP] [PAD] <bos><eos>",
    "antidisestablishmentarianism" * 3,
    "red circle and blue square, " * 60,
)


class InexactTokenizerError(Exception):
    """A tokenizer whose tokens this module may not reproduce exactly."""


class _Model(Protocol):
    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Tokens of cleaned texts, cut to the context, and their numbers before the cut."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write large parts into files, and return the rest for JSON."""
        ...


class _Clip:
    def __init__(self, merges: Sequence[str], context_length: int) -> None:
        self.bpe = ClipBpe(merges)
        self._context_length = context_length

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        encoded = [self.bpe.encode(text) for text in texts]
        counts = [len(ids) for ids in encoded]
        for ids in encoded:
            if len(ids) > self._context_length:
                del ids[self._context_length :]
                ids[-1] = self.bpe.end_id
        return encoded, counts

    def save(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        return {"kind": "clip", "merges": list(self.bpe.merges)}


class _Rust:
    """A tokenizer of the Rust library. With ``special_as_text``, names of special tokens are split like other text."""

    def __init__(self, tokenizer: Any, context_length: int, special_as_text: bool) -> None:
        self._tokenizer = tokenizer
        self._special_as_text = special_as_text
        tokenizer.encode_special_tokens = special_as_text
        tokenizer.no_padding()
        tokenizer.enable_truncation(context_length, stride=0, strategy="longest_first", direction="right")
        self._added = tokenizer.num_special_tokens_to_add(False)

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        ids = [encoding.ids for encoding in encodings]
        # The rest of a text comes in pieces with start and end tokens of their own.
        counts = [
            len(kept) + sum(len(rest.ids) - self._added for rest in encoding.overflowing)
            for kept, encoding in zip(ids, encodings, strict=True)
        ]
        return ids, counts

    def save(self, folder: Path) -> dict[str, Any]:
        (folder / _RUST_FILE).write_text(self._tokenizer.to_str(), encoding="utf-8")
        return {"kind": "rust", "special_as_text": self._special_as_text}


@dataclass(frozen=True)
class TextTokenizer:
    """An open_clip tokenizer, reproduced token for token.

    Parameters
    ----------
    context_length : int
    pad_id : int
        Fills the row after a text.
    clean : str
        A name of ``cleaning.CLEANERS``.
    replaced : dict of int to int
        Tokens to replace at the end.
    model
        Splits cleaned texts into tokens; made by the class methods.
    """

    context_length: int
    pad_id: int
    clean: str
    replaced: dict[int, int]
    model: _Model

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Tokens of each text, start and end included, cut to the context as open_clip cuts them, not padded.

        Returns
        -------
        list of int64 of shape (tokens,)
        """
        arrays = [np.array(ids, dtype=np.int64) for ids in self._encode(texts)[0]]
        for array in arrays if self.replaced else ():
            for old, new in self.replaced.items():
                array[array == old] = new
        return arrays

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text before any cut, start and end included."""
        return self._encode(texts)[1]

    def padded(self, ids: Sequence[Ids], width: int) -> Ids:
        """One row per text, padded with ``pad_id``: int64 of shape (len(ids), width).

        Raises
        ------
        ValueError
            If a text has more tokens than that.
        """
        lengths = np.array([len(one) for one in ids], dtype=np.int64)
        if len(ids) and lengths.max() > width:
            raise ValueError(f"{lengths.max()} tokens do not fit into {width}")
        rows = np.full((len(ids), width), self.pad_id, dtype=np.int64)
        if len(ids):
            rows[np.arange(width) < lengths[:, None]] = np.concatenate(ids)
        return rows

    def save(self, folder: Path) -> None:
        """Write JSON files into an existing folder."""
        content = {
            "context_length": self.context_length,
            "pad_id": self.pad_id,
            "clean": self.clean,
            "replaced": sorted(self.replaced.items()),
            "model": self.model.save(folder),
        }
        (folder / _FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """Read what ``save`` wrote.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If its content is not valid.
        """
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        try:
            context_length, about = int(content["context_length"]), content["model"]
            model: _Model
            if about["kind"] == "clip":
                model = _Clip(about["merges"], context_length)
            else:
                text = (folder / _RUST_FILE).read_text(encoding="utf-8")
                model = _Rust(_rust(text), context_length, bool(about["special_as_text"]))
            replaced = {int(old): int(new) for old, new in content["replaced"]}
            if content["clean"] not in cleaning.CLEANERS:
                raise ValueError(f"{content['clean']} is not a way of cleaning")
            return cls(context_length, int(content["pad_id"]), content["clean"], replaced, model)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"'{folder / _FILE}' is not a tokenizer: {error!r}") from error

    @classmethod
    def of_clip(cls, merges: Sequence[str], context_length: int, clean: str) -> TextTokenizer:
        """CLIP's byte-pair encoding. Raises InexactTokenizerError if there is no such way of cleaning."""
        return cls(context_length, 0, _known(clean), {}, _Clip(merges, context_length))

    @classmethod
    def of_rust(
        cls,
        text: str,
        context_length: int,
        *,
        pad: str,
        clean: str,
        zeroed: str | None = None,
        special_as_text: bool = False,
    ) -> TextTokenizer:
        """A tokenizer of the Rust library.

        Parameters
        ----------
        text : str
            Its JSON.
        context_length : int
        pad : str
            The token that fills a row after its text.
        clean : str
            A name of ``cleaning.CLEANERS``.
        zeroed : str, optional
            A token that is replaced by token 0 at the end.
        special_as_text : bool
            Split the names of special tokens like other text.

        Raises
        ------
        InexactTokenizerError
            If it has no such token, or there is no such way of cleaning.
        ValueError
            If the JSON is not valid.
        """
        rust = _rust(text)
        numbers = {token: rust.token_to_id(token) for token in (pad, zeroed) if token is not None}
        if None in numbers.values():
            raise InexactTokenizerError(f"it does not have the tokens {', '.join(numbers)}")
        replaced = {} if zeroed is None else {int(numbers[zeroed]): 0}
        pad_id = int(numbers[pad])
        model = _Rust(rust, context_length, special_as_text)
        return cls(context_length, replaced.get(pad_id, pad_id), _known(clean), replaced, model)

    @classmethod
    def from_openclip(cls, tokenizer: Any) -> TextTokenizer:
        """The same as one of open_clip's tokenizers.

        Raises
        ------
        InexactTokenizerError
            If it does something unknown: random tokens, CLIPS' own order, padding on the left, a tokenizer without a
            Rust one behind it, or anything that shows in a trial.
        """
        match type(tokenizer).__name__:
            case "SimpleTokenizer":
                ours = _from_simple(tokenizer)
            case "HFTokenizer":
                ours = _from_hf(tokenizer)
            case kind:
                raise InexactTokenizerError(f"tokenizers of the type {kind} are unknown")
        expected = tokenizer(list(_PROBES)).tolist()
        if ours.padded(ours.ids(_PROBES), ours.context_length).tolist() != expected:
            raise InexactTokenizerError("its tokens differ from ours")
        return ours

    def _encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        check_texts(texts)
        clean = cleaning.CLEANERS[self.clean]
        return self.model.encode([clean(text) for text in texts])


def _from_simple(tokenizer: Any) -> TextTokenizer:
    import regex

    if tokenizer.reduction_fn is not None:
        raise InexactTokenizerError("it drops tokens of long texts at random")
    if tokenizer.pat.pattern != PATTERN or not tokenizer.pat.flags & regex.IGNORECASE:
        raise InexactTokenizerError("it splits words in its own way")
    merges = [" ".join(pair) for pair in tokenizer.bpe_ranks]
    model = _Clip(merges, int(tokenizer.context_length))
    # Each token is one merge of earlier tokens; otherwise the order of equal merges would matter.
    if model.bpe.vocabulary() != tokenizer.encoder or len(tokenizer.encoder) != 512 + len(merges) + 2:
        raise InexactTokenizerError("its vocabulary is not CLIP's")
    return TextTokenizer(int(tokenizer.context_length), 0, _clean_of(tokenizer), {}, model)


def _from_hf(tokenizer: Any) -> TextTokenizer:
    inner = tokenizer.tokenizer
    if tokenizer.tokenizer_mode:
        raise InexactTokenizerError(f"the mode '{tokenizer.tokenizer_mode}' is unknown")
    if getattr(type(inner)._encode_plus, "__module__", "") != _RUST_MODULE:
        raise InexactTokenizerError(f"{type(inner).__name__} has no Rust tokenizer behind it")
    if inner.padding_side != "right" or inner.truncation_side != "right":
        raise InexactTokenizerError("it pads or cuts on the left")
    if inner.pad_token_id is None:
        raise InexactTokenizerError("it has no token for padding")
    context_length, pad_id = int(tokenizer.context_length), int(inner.pad_token_id)
    tokenizer(["x"])  # some set the tokens of their language with the first text
    model = _Rust(_rust(inner.backend_tokenizer.to_str()), context_length, bool(inner.split_special_tokens))
    replaced = {}
    if tokenizer.strip_sep_token and inner.sep_token_id is not None:
        replaced = {int(inner.sep_token_id): 0}
    return TextTokenizer(context_length, replaced.get(pad_id, pad_id), _clean_of(tokenizer), replaced, model)


def _clean_of(tokenizer: Any) -> str:
    return _known(str(getattr(tokenizer.clean_fn, "__name__", "")).removeprefix("_clean_"))


def _known(name: str) -> str:
    if name not in cleaning.CLEANERS:
        raise InexactTokenizerError("it cleans texts in its own way")
    return name


def _rust(text: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(f"not a tokenizer: {error}") from error
