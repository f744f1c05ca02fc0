"""Cut rows against open_clip's own way over the full context."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import openvino
import pytest
import torch
from kits.encoder_kit import TEXTS, check_encoder
from kits.families import CAUSAL, FAMILIES, NOT_CAUSAL, write_family
from open_clip.transformer import TextTransformer
from torch.nn import functional as F

from zsretrieve.demo import scenes
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.settings import Compute
from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER
from zsretrieve.encoders.text.tokenizer import InexactTokenizerError, TextTokenizer
from zsretrieve.encoders.torch.encoder import TorchEncoder
from zsretrieve.encoders.torch.text_tower import is_causal, text_tower

LONG = "red circle and blue square " * 20


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: write_family(name, root / name) for name in FAMILIES}


def opened(folder: Path) -> Any:
    return open_clip.create_model(f"local-dir:{folder}").eval()


def tokens_of_every_length(context: int, vocabulary: int) -> tuple[torch.Tensor, list[int]]:
    """One row of each length, ended as CLIP's are, with the token of the padding among those of longer ones."""
    rng = np.random.default_rng(0)
    rows = np.zeros((context - 1, context), dtype=np.int64)
    lengths = list(range(2, context + 1))
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = rng.integers(1, vocabulary - 2, length)
        row[0], row[length - 1] = vocabulary - 2, vocabulary - 1
        if length > 5:
            row[3] = 0
            row[length - 2] = 0
    return torch.from_numpy(rows), lengths


def unit(features: torch.Tensor) -> np.ndarray:
    return F.normalize(features.detach(), dim=-1).numpy()


@torch.no_grad()
@pytest.mark.parametrize("name", CAUSAL)
def test_cutting_is_exact(folders: dict[str, Path], name: str) -> None:
    model = opened(folders[name])
    tower = text_tower(model).eval()
    assert tower.causal
    context = FAMILIES[name]["model_cfg"]["text_cfg"]["context_length"]
    tokens, lengths = tokens_of_every_length(context, 49408)
    full = unit(model.encode_text(tokens))
    np.testing.assert_allclose(unit(tower(tokens)), full, rtol=0, atol=1e-5)
    for row, length in [*enumerate(lengths)][::-7]:
        for width in {length, min(length + 1, context), min(length + 4, context)}:
            cut = unit(tower(tokens[: row + 1, :width]))
            np.testing.assert_allclose(cut, full[: row + 1], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_cutting_others_would_be_wrong(folders: dict[str, Path], name: str) -> None:
    model = opened(folders[name])
    tower = text_tower(model).eval()
    assert not tower.causal
    tokenizer = TextTokenizer.from_openclip(open_clip.get_tokenizer(f"local-dir:{folders[name]}"))
    ids = tokenizer.ids(["a red circle"])
    full = torch.from_numpy(tokenizer.padded(ids, tokenizer.context_length))
    cut = torch.from_numpy(tokenizer.padded(ids, len(ids[0])))
    np.testing.assert_array_equal(unit(tower(full)), unit(model.encode_text(full)))
    text = model.text
    # open_clip's own tower takes rows of any width where it has no mask.
    assert np.abs(unit(text(cut)) - unit(text(full))).max() > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_what_encoders_give_is_the_plain_path(folders: dict[str, Path], name: str) -> None:
    encoder = TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cpu", precision="fp32"))
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folders[name]}")
    texts = [*TEXTS, *scenes.class_names()[:30], LONG, "!", "! ! !", "<end_of_text> more"]
    with torch.no_grad():
        plain = unit(opened(folders[name]).encode_text(tokenizer(texts)))
    np.testing.assert_allclose(encoder.encode_texts(texts), plain, rtol=0, atol=1e-5)


def test_coca_conforms(folders: dict[str, Path]) -> None:
    check_encoder(lambda: TorchEncoder(f"local-dir:{folders['coca']}", Compute(device="cpu", precision="fp32")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine")
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_conforms_on_a_gpu(folders: dict[str, Path], name: str) -> None:
    check_encoder(lambda: TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cuda", precision="fp32")))


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_stays_close(folders: dict[str, Path], name: str) -> None:
    exact, fast = (
        TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cpu", precision=p)) for p in ("fp32", "bf16")
    )
    texts = [*TEXTS, LONG]
    assert (exact.encode_texts(texts) * fast.encode_texts(texts)).sum(axis=1).min() >= 0.999


def test_a_tokenizer_of_its_own_takes_the_plain_path(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tokenizer: object) -> TextTokenizer:
        raise InexactTokenizerError("it is odd")

    for name in ("clip-vit", "siglip"):
        usual = TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cpu"))
        with monkeypatch.context() as patch:
            patch.setattr(TextTokenizer, "from_openclip", refuse)
            plain = TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cpu"))
            check_encoder(lambda name=name: TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cpu")))
            np.testing.assert_allclose(plain.encode_texts(TEXTS), usual.encode_texts(TEXTS), atol=1e-6)
            assert plain.token_counts([*TEXTS, LONG]) == usual.token_counts([*TEXTS, LONG])


SMALL = {"context_length": 12, "vocab_size": 50, "width": 16, "heads": 2, "layers": 2, "output_dim": 8}


class Custom(torch.nn.Module):
    """What open_clip's models with a text tower of their own look like from here."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.text = TextTransformer(**{**SMALL, **options})
        if self.text.cls_emb is not None:
            torch.nn.init.normal_(self.text.cls_emb)
        torch.nn.init.normal_(self.text.positional_embedding)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.text(tokens)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "pad_id", "causal"),
    [
        ({}, 0, True),
        ({}, 49, False),
        ({"pool_type": "eos", "eos_id": 2}, 1, True),
        ({"pool_type": "eos", "eos_id": 2}, 2, False),
        ({"pool_type": "first"}, 1, True),
        ({"pool_type": "last"}, 0, False),
        ({"no_causal_mask": True}, 0, False),
        ({"no_causal_mask": True, "use_pad_mask": True}, 0, False),
        ({"embed_cls": True}, 0, True),
        ({"embed_cls": True}, 1, False),
        ({"embed_cls": True, "pad_id": 1}, 1, True),
        ({"embed_cls": True, "correct_cls_mask": True}, 0, True),
        ({"proj_bias": True}, 0, True),
        ({"proj_type": "none"}, 0, True),
        ({"qk_norm": True, "scale_heads": True, "scale_fc": True}, 0, True),
    ],
)
def test_other_structures(options: dict[str, object], pad_id: int, causal: bool) -> None:
    torch.manual_seed(0)
    model = Custom(**options).eval()
    assert is_causal(model, pad_id) is causal
    tower = text_tower(model, pad_id).eval()
    assert tower.causal is causal
    rng = np.random.default_rng(1)
    for length in range(2, 13):
        row = np.full((1, 12), pad_id)
        row[0, :length] = rng.integers(3, 40, length)
        row[0, length - 1] = 2 if options.get("pool_type") == "eos" else 48
        tokens = torch.from_numpy(row)
        width = length if causal else 12
        np.testing.assert_allclose(unit(tower(tokens[:, :width])), unit(model.encode_text(tokens)), rtol=0, atol=1e-5)


def test_a_mask_that_lets_a_token_see_ahead_is_not_causal() -> None:
    model = Custom()
    model.text.attn_mask[2, 3] = 0.0
    assert not is_causal(model)


def test_blocks_that_are_not_known_are_not_causal() -> None:
    model = Custom()
    model.text.transformer = torch.nn.Identity()
    assert not is_causal(model)


@pytest.mark.parametrize("name", ["clip-vit", "mobileclip-b", "coca"])
def test_a_converted_tower_takes_any_shape(folders: dict[str, Path], name: str) -> None:
    model = opened(folders[name])
    tower = text_tower(model).eval()
    context = FAMILIES[name]["model_cfg"]["text_cfg"]["context_length"]
    tokens, lengths = tokens_of_every_length(context, 49408)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of tracing
        full = unit(model.encode_text(tokens))
        converted = openvino.convert_model(tower, example_input=tokens[:2, :7])
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for row, length in [*enumerate(lengths)][::-12]:
        rows = slice(0, row + 1)
        features = torch.from_numpy(compiled(tokens[rows, :length].numpy())[0])
        np.testing.assert_allclose(unit(features), full[rows], rtol=0, atol=1e-5)


def test_the_bundled_model_is_cut(demo_encoder: Encoder) -> None:
    model = open_clip.create_model(f"local-dir:{DEMO_FOLDER}").eval()
    assert is_causal(model)
    with torch.no_grad():
        plain = unit(model.encode_text(open_clip.get_tokenizer(f"local-dir:{DEMO_FOLDER}")(scenes.class_names())))
    np.testing.assert_allclose(demo_encoder.encode_texts(scenes.class_names()), plain, rtol=0, atol=1e-5)
