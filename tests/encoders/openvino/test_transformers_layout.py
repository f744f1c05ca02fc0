"""Models in transformers' layout, run where torch and transformers are absent, against transformers' own."""

from __future__ import annotations

import json
import re
import shutil
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.encoder_kit import TEXTS, pictures
from kits.tokenizing import GEMMA, clip, gemma, saved, unigram
from kits.without import run_without_extras
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import zsretrieve as zs
from zsretrieve.domain.errors import ConversionError, DeviceError, ModelNameError, WeightsUnavailableError
from zsretrieve.domain.records import Preprocessing
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.openvino.graphs import transformers
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.encoders.text.sources import tokenizer_of_files

CONTEXT = 24
MARKS = [
    "<|endoftext|> and <|startoftext|> on",
    "a</s>b <unk> <pad> <eos> <bos>",
    " \t two  spaces\n",
    "I'LL 12 CAFÉ e\u0301",
]
ALL_TEXTS = [*TEXTS, *MARKS, "a red circle left of a blue square, " * 30]
_SIDES = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 3}
_IMAGE = {**_SIDES, "image_size": 48, "patch_size": 16}
_TEXT = {**_SIDES, "vocab_size": 1000, "max_position_embeddings": CONTEXT}
_BILINEAR = 2


@dataclass(frozen=True)
class Kind:
    """A model as it may be published; ``end`` is what its configuration says of the token at the end of a text."""

    activation: str
    dtype: torch.dtype = torch.float32
    end: int | None = None
    shards: bool = False


KINDS = {
    "clip": Kind("quick_gelu", end=2),
    "clip-shards": Kind("gelu", end=None, shards=True),
    "siglip": Kind("gelu_pytorch_tanh"),
    "siglip-bfloat": Kind("gelu_pytorch_tanh", torch.bfloat16),
}


def processor(name: str) -> Any:
    if name.startswith("clip"):
        return CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    size = {"height": 48, "width": 48}
    return SiglipImageProcessorPil(size=size, resample=_BILINEAR if name == "siglip-bfloat" else 3)


def write(name: str, kind: Kind, folder: Path) -> Any:
    """Random weights, norms and biases too, and the files beside them; the model, float32."""
    torch.manual_seed(0)
    if name.startswith("clip"):
        tokenizer = clip()
        tokenizer.save_pretrained(folder)
        end = tokenizer.eos_token_id if kind.end is None else kind.end
        text = {**_TEXT, "hidden_act": kind.activation, "eos_token_id": end, "hidden_size": 36}
        image = {**_IMAGE, "hidden_act": kind.activation}
        model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=20))
    else:
        if kind.dtype == torch.bfloat16:
            saved(folder, gemma(), **GEMMA)
        else:
            marks = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
            saved(folder, unigram(pre_tokenizers.Metaspace()), tokenizer_class="SiglipTokenizer", **marks)
        towers = ({**sides, "hidden_act": kind.activation} for sides in (_TEXT, _IMAGE))
        model = SiglipModel(SiglipConfig(text_config=next(towers), vision_config=next(towers)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0 if parameter.ndim >= 2 else 1.0)
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = model.to(kind.dtype).eval()
    model.save_pretrained(folder, max_shard_size="60kB" if kind.shards else "1GB")
    processor(name).save_pretrained(folder)
    return model.float()


def tokens(name: str, folder: Path, texts: list[str]) -> list[list[int]]:
    """What transformers makes of texts.

    Its class for SigLIP needs sentencepiece. It cleans a text and leaves the rest to a model of the same vocabulary.
    """
    if name == "siglip":
        theirs: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        without = [re.sub(f"[{re.escape(string.punctuation)}]", "", text.lower()) for text in texts]
        texts = [re.sub(r"\s+", " ", text).strip() for text in without]
    else:
        theirs = AutoTokenizer.from_pretrained(folder)
    ids: list[list[int]] = theirs(texts, padding="max_length", max_length=CONTEXT, truncation=True)["input_ids"]
    return ids


def expect(name: str, model: Any, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the pictures and texts."""
    ids = torch.tensor(tokens(name, folder, ALL_TEXTS))
    with torch.no_grad():
        images = model.get_image_features(processor(name)(pictures(), return_tensors="pt")["pixel_values"])
        texts = model.get_text_features(ids)
    return unit_rows(images.pooler_output.numpy()), unit_rows(texts.pooler_output.numpy())


BUILD = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
import numpy as np
from kits.encoder_kit import check_encoder, pictures
import zsretrieve as zs
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.openvino.model_cache import find
folder, texts = Path(sys.argv[1]), json.loads(sys.argv[2])
for name in sys.argv[3:]:
    place = name if name.startswith("hf-hub:") else f"local-dir:{folder / name}"
    def make():
        return zs.Model(place, zs.Compute(engine="openvino", precision="fp32")).load()
    encoder = make()
    if name in ("clip", "siglip"):
        check_encoder(make)
    images = encoder.encode_prepared([encoder.prepare(image) for image in pictures()])
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    file = folder / (name.partition("/")[2] or name)
    np.savez(f"{file}.npz", images=images, texts=encoder.encode_texts(texts), alone=alone)
    causal = find(parse_model_name(place)).causal
    about = {"space": asdict(encoder.space), "head": asdict(encoder.head), "causal": causal}
    Path(f"{file}.json").write_text(json.dumps(about))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with transformers' models, and what was computed of each where transformers is absent."""
    folder = tmp_path_factory.mktemp("layout")
    for name, kind in KINDS.items():
        images, texts = expect(name, write(name, kind, folder / name), folder / name)
        np.savez(folder / f"{name}-expected", images=images, texts=texts)
    older(folder / "clip-shards")
    commit = folder / "hub" / "models--org--hubbed" / "snapshots" / "c0ffee"
    shutil.copytree(folder / "siglip", commit)
    (commit.parents[1] / "refs").mkdir()
    (commit.parents[1] / "refs" / "main").write_text("c0ffee")
    env = {"ZSRETRIEVE_CACHE": str(folder / "cache"), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    run_without_extras(BUILD, folder, json.dumps(ALL_TEXTS), *KINDS, "hf-hub:org/hubbed", env=env)
    return folder


def older(folder: Path) -> None:
    """As older versions wrote it: positions among the weights, merges in a file, and sizes as single numbers."""
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    positions = {"text_model.embeddings.position_ids": torch.arange(CONTEXT)[None]}
    save_file({**load_file(shard), **positions}, str(shard))
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    images = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**images, "size": 48, "crop_size": 48}))


@pytest.mark.parametrize("name", [*KINDS, "hubbed"])
def test_vectors_are_those_of_transformers(built: Path, name: str) -> None:
    ours, theirs = np.load(built / f"{name}.npz"), np.load(built / f"{name.replace('hubbed', 'siglip')}-expected.npz")
    np.testing.assert_allclose(ours["images"], theirs["images"], atol=1e-5)
    np.testing.assert_allclose(ours["texts"], theirs["texts"], atol=1e-5)
    np.testing.assert_allclose(ours["alone"], theirs["texts"], atol=1e-5)
    assert np.abs(ours["images"][0] - ours["images"][1]).max() > 1e-3, "different images must differ"
    about = json.loads((built / f"{name}.json").read_text())
    assert about["causal"] == name.startswith("clip")
    assert about["head"]["kind"] == ("softmax" if name.startswith("clip") else "sigmoid")
    assert about["space"]["weights"].startswith("hub:org/hubbed@c0ffee" if name == "hubbed" else "sha256:")


def test_the_head_is_that_of_the_weights(built: Path) -> None:
    for name in KINDS:
        (first, *more) = sorted((built / name).glob("*.safetensors"))
        weights = load_file(first) | {key: tensor for file in more for key, tensor in load_file(file).items()}
        head = json.loads((built / f"{name}.json").read_text())["head"]
        assert head["scale"] == pytest.approx(weights["logit_scale"].float().exp().item(), rel=1e-6)
        assert head["bias"] == pytest.approx(float(weights.get("logit_bias", torch.zeros(1)).item()))


@pytest.mark.parametrize("name", list(KINDS))
def test_tokens_are_those_of_transformers(built: Path, name: str) -> None:
    config = json.loads((built / name / "config.json").read_text())
    ours = tokenizer_of_files(built / name, transformers.words_of(config, "local"))

    def same(texts: list[str]) -> None:
        assert ours.padded(ours.ids(texts), CONTEXT).tolist() == tokens(name, built / name, texts)

    same(ALL_TEXTS)

    @settings(deadline=None, max_examples=60)
    @given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4))
    def any_text(texts: list[str]) -> None:
        same(texts)

    any_text()


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["clip", "siglip", "siglip-bfloat"]),
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    mode=st.sampled_from(["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "transparent"]),
)
def test_pixels_are_those_of_transformers(name: str, width: int, height: int, mode: str) -> None:
    made = processor(name)
    images = transformers.images_of(
        {"model_type": name[:6].strip("-"), "vision_config": _IMAGE, "text_config": _TEXT}, made.to_dict()
    )
    shape = Preprocessing(
        (48, 48), tuple(images["mean"]), tuple(images["std"]), images["interpolation"], images["resize_mode"]
    )
    rng = np.random.default_rng(width * 1000 + height)
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("P" if mode == "transparent" else mode)
    if mode == "transparent":
        image.info["transparency"] = 3
    expected = made(image, return_tensors="np")["pixel_values"][0]
    ours = (prepare(image, shape) / 255 - np.array(shape.mean)) / np.array(shape.std)
    np.testing.assert_allclose(ours.transpose(2, 0, 1), expected, atol=1e-5)


def changed(folder: Path, to: Path, file: str, **settings: Any) -> str:
    """The name of a copy with other settings in one of its files."""
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps(content | settings))
    return f"local-dir:{to}"


@pytest.mark.parametrize(
    ("file", "settings_", "why"),
    [
        ("config.json", {"model_type": "blip"}, "it is of the type blip"),
        ("config.json", {"model_type": "siglip2"}, "it is of the type siglip2"),
        ("config.json", {"text_config": {**_TEXT, "hidden_act": "relu"}}, "its activation is relu"),
        ("config.json", {"vision_config": {**_IMAGE, "num_channels": 1}}, "1 channels"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}, "its tower takes 48 x 48 pixels"),
        ("preprocessor_config.json", {"do_center_crop": False}, "its tower takes 48 x 48 pixels"),
        ("preprocessor_config.json", {"resample": 0}, "the filter 0"),
        ("preprocessor_config.json", {"rescale_factor": 1.0}, "in a way of its own"),
        ("preprocessor_config.json", {"do_rescale": False}, "do_rescale: false"),
    ],
)
def test_what_is_not_known_is_refused(
    built: Path, tmp_path: Path, file: str, settings_: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    name = changed(built / "clip", tmp_path / "model", file, **settings_)
    with pytest.raises(ConversionError, match=why) as found:
        zs.describe_model(name)
    assert "open_clip may have it" in str(found.value.hint)
    with pytest.raises(ConversionError, match=why):
        zs.Model(name, zs.Compute(device="cpu")).load()


def test_missing_files_are_named(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    for number, (file, error, why) in enumerate(
        [
            ("model.safetensors", ConversionError, "format safetensors"),
            ("preprocessor_config.json", WeightsUnavailableError, "it has no preprocessor_config.json"),
            ("tokenizer.json", ConversionError, "it has no tokenizer.json"),
            ("config.json", ModelNameError, "has neither open_clip_config.json nor config.json"),
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(built / "clip", folder)
        (folder / file).unlink()
        if file == "model.safetensors":
            torch.save({}, folder / "pytorch_model.bin")
        with pytest.raises(error, match=why):
            zs.Model(f"local-dir:{folder}", zs.Compute(device="cpu")).load()
    shards = built / "clip-shards"
    folder = tmp_path / "shard"
    shutil.copytree(shards, folder)
    sorted(folder.glob("model-*.safetensors"))[0].unlink()
    with pytest.raises(WeightsUnavailableError, match="no such file"):
        zs.Model(f"local-dir:{folder}", zs.Compute(device="cpu")).load()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../clip/model.safetensors"}}')
    with pytest.raises(WeightsUnavailableError, match="names no files beside it"):
        zs.Model(f"local-dir:{folder}", zs.Compute(device="cpu")).load()


def test_torch_is_refused(built: Path) -> None:
    for compute in (zs.Compute(engine="torch"), zs.Compute(device="cuda"), zs.Compute(compile=True)):
        with pytest.raises(DeviceError, match="runs from its weights alone"):
            zs.Model(f"local-dir:{built / 'clip'}", compute)


def test_it_is_described(built: Path) -> None:
    described = zs.describe_model(f"local-dir:{built / 'siglip-bfloat'}")
    assert (described["dim"], described["context_length"], described["image_size"]) == (48, CONTEXT, [48, 48])
    assert described["needs_torch"] is False
    assert described["preprocessing"]["interpolation"] == "bilinear"


def test_the_identity_follows_every_shard(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(built / "clip-shards", folder)
    name = f"local-dir:{folder}"
    first = zs.Model(name).identity
    last = sorted(folder.glob("model-*.safetensors"))[-1]
    tensors = load_file(last)
    save_file({key: tensor + 1 for key, tensor in tensors.items()}, str(last))
    assert zs.Model(name).identity != first


def test_a_second_record_of_a_tower_takes_the_place_of_the_first() -> None:
    """As in the configurations of OpenAI's ViT-L/14."""
    towers = {"text_config": {**_TEXT, "hidden_size": 96}, "text_config_dict": _TEXT, "vision_config": _IMAGE}
    plan = transformers.plan_of({"model_type": "clip", "projection_dim": 20, **towers})
    theirs = CLIPConfig(**towers).text_config
    assert plan.text.blocks.width == theirs.hidden_size == 48
    usual = transformers.plan_of({"model_type": "clip"})
    whole = CLIPConfig()
    assert usual.image.blocks.layers == whole.vision_config.num_hidden_layers
    assert replace(usual.text.blocks, layers=0) == replace(transformers.plan_of(whole.to_dict()).text.blocks, layers=0)
