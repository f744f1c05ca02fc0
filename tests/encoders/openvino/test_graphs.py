"""Graphs built from the weights alone, where torch and open_clip are absent, against open_clip's own towers."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from kits.encoder_kit import TEXTS, pictures
from kits.models import write_tokenizer
from kits.without import run_without_extras
from safetensors.torch import load_file, save_file

import zsretrieve as zs
from zsretrieve.domain.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.catalog.plan import OutsideError
from zsretrieve.encoders.openvino.graphs.build import build_once
from zsretrieve.encoders.openvino.graphs.weights import MisfitError, Weights
from zsretrieve.encoders.torch import loading

ALL_TEXTS = [*TEXTS, "a red circle left of a blue square, " * 30, "<end_of_text> and on"]
_TEXT: dict[str, Any] = {"context_length": 24, "width": 32, "heads": 2, "layers": 2}
_VISION: dict[str, Any] = {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
# timm's towers of SigLIP's models have their shapes by name; these are taken instead.
SIDES = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 64}
SHAPE = {"width": 64, "layers": 2, "heads": 2}


def siglip(tower: str, text: dict[str, Any]) -> dict[str, Any]:
    vision = {"image_size": 64, "timm_model_name": tower, "timm_pool": "map", "timm_proj": "none"}
    words = {"hf_tokenizer_name": "local", "tokenizer_kwargs": {"clean": "canonicalize"}, "vocab_size": 600}
    text = {
        **_TEXT,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
        **text,
    }
    towers = {"vision_cfg": vision, "text_cfg": {**text, **words}}
    return {"embed_dim": 64, "init_logit_bias": -10, "custom_text": True, **towers}


CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {"embed_dim": 32, "quick_gelu": True, "vision_cfg": _VISION, "text_cfg": _TEXT},
    "clip-gelu": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": {**_VISION, "image_size": [52, 64], "ls_init_value": 0.5, "act_kwargs": {"approximate": "tanh"}},
        "text_cfg": {**_TEXT, "ls_init_value": 0.5, "mlp_ratio": 3.7362, "pool_type": "eos", "eos_id": 49407},
    },
    "clip-mean": {
        "embed_dim": 32,
        "nonscalar_logit_scale": True,
        "vision_cfg": {**_VISION, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {**_TEXT, "no_causal_mask": True, "layers": 1},
    },
    "clip-last": {
        "embed_dim": 32,
        "vision_cfg": {**_VISION, "layers": 1},
        "text_cfg": {**_TEXT, "width": 32, "pool_type": "last", "proj_type": "none"},
    },
    "siglip": siglip("vit_base_patch16_siglip_224", {}),
    "siglip2": siglip("vit_so400m_patch16_siglip_256", {"act_kwargs": {"approximate": "tanh"}, "mlp_ratio": 3.7362}),
}
STORED = {"clip-half": ("clip", torch.float16), "clip-bfloat": ("siglip2", torch.bfloat16)}
PREPROCESSING = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear", "resize_mode": "squash"}

BUILD = """
import json, sys
from pathlib import Path
import numpy as np
from kits.encoder_kit import check_encoder, pictures
import zsretrieve as zs
from zsretrieve.encoders.catalog import tables
from dataclasses import asdict
folder, texts = Path(sys.argv[1]), json.loads(sys.argv[2])
for shape in tables._tables()["vision_transformers"].values():
    shape.update(json.loads(sys.argv[3]), hidden=round(shape["hidden"] / shape["width"] * 64 - 0.5))
for name in sorted(path.parent.name for path in folder.glob("*/open_clip_model.safetensors")):
    def make():
        return zs.Model(f"local-dir:{folder / name}", zs.Compute(engine="openvino", precision="fp32")).load()
    encoder = make()
    if name in ("clip", "siglip"):
        check_encoder(make)
    images = encoder.encode_prepared([encoder.prepare(image) for image in pictures()])
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.savez(folder / f"{name}.npz", images=images, texts=encoder.encode_texts(texts), alone=alone)
    about = {"space": asdict(encoder.space), "head": asdict(encoder.head), "counts": encoder.token_counts(texts)}
    (folder / f"{name}.json").write_text(json.dumps(about))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with open_clip's models, and what was computed of each where open_clip is absent."""
    folder = tmp_path_factory.mktemp("graphs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", functools.partial(timm.create_model, **SIDES))
        for name, config in CONFIGS.items():
            write(config, folder / name)
            for half, (whole, dtype) in STORED.items():
                if whole == name:
                    write(config, folder / half, dtype)
        for name in (*CONFIGS, *STORED):
            expect(f"local-dir:{folder / name}", folder / f"{name}-expected")
    run_without_extras(
        BUILD, folder, json.dumps(ALL_TEXTS), json.dumps(SHAPE), env={"ZSRETRIEVE_CACHE": str(folder / "cache")}
    )
    return folder


def write(config: dict[str, Any], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Random weights, norms and biases too, in the names and types in which a model is published."""
    folder.mkdir()
    content = {"model_cfg": config, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0 if parameter.ndim >= 2 else 1.0)
            parameter.add_(0.1 * torch.randn_like(parameter))
    weights = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    if "hf_tokenizer_name" in config["text_cfg"]:
        write_tokenizer(folder)


def expect(name: str, file: Path) -> None:
    """Keep what open_clip's own model, preprocessing and tokenizer give."""
    loaded = loading.load(parse_model_name(name))
    _, _, preprocess = open_clip.create_model_and_transforms(name)
    with torch.no_grad():
        images = loaded.model.encode_image(torch.stack([preprocess(image) for image in pictures()])).numpy()
        texts = loaded.model.encode_text(loaded.tokenizer(ALL_TEXTS)).numpy()
    np.savez(file, images=unit_rows(images), texts=unit_rows(texts))
    file.with_suffix(".json").write_text(json.dumps({"space": asdict(loaded.space), "head": asdict(loaded.head)}))


@pytest.mark.parametrize("name", [*CONFIGS, *STORED])
def test_vectors_and_space_are_those_of_open_clip(built: Path, name: str) -> None:
    ours, theirs = np.load(built / f"{name}.npz"), np.load(built / f"{name}-expected.npz")
    np.testing.assert_allclose(ours["images"], theirs["images"], atol=1e-5)
    np.testing.assert_allclose(ours["texts"], theirs["texts"], atol=1e-5)
    np.testing.assert_allclose(ours["alone"], theirs["texts"], atol=1e-5)
    about, expected = (json.loads((built / f"{one}.json").read_text()) for one in (name, f"{name}-expected"))
    assert about["space"] == expected["space"]
    assert about["head"] == expected["head"]
    assert np.abs(ours["images"][0] - ours["images"][1]).max() > 1e-3, "different images must differ"


REFUSE = """
import json, sys
import zsretrieve as zs
from zsretrieve.domain.errors import ZsRetrieveError
said = []
for name in sys.argv[1:]:
    try:
        zs.Model(name, zs.Compute(device="cpu")).load()
    except ZsRetrieveError as error:
        said.append([type(error).__name__, error.message, error.hint])
print(json.dumps(said))
"""


def test_what_is_not_built_says_what_it_needs(built: Path, tmp_path: Path) -> None:
    weights = load_file(built / "clip" / "open_clip_model.safetensors")
    folders = {}
    for name in ("resnet", "pickle", "more", "less", "cut"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "open_clip_config.json").write_text((built / "clip" / "open_clip_config.json").read_text())
    resnet = {**CONFIGS["clip"], "vision_cfg": {**_VISION, "layers": [1, 1, 1, 1]}}
    (folders["resnet"] / "open_clip_config.json").write_text(json.dumps({"model_cfg": resnet}))
    torch.save(weights, folders["pickle"] / "open_clip_pytorch_model.bin")
    save_file({**weights, "spare": torch.zeros(1)}, folders["more"] / "open_clip_model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if k != "ln_final.bias"}, folders["less"] / "open_clip_model.safetensors"
    )
    whole = (built / "clip" / "open_clip_model.safetensors").read_bytes()
    (folders["cut"] / "open_clip_model.safetensors").write_bytes(whole[:-100])
    save_file(weights, folders["resnet"] / "open_clip_model.safetensors")
    names = [f"local-dir:{folder}" for folder in folders.values()]
    (tmp_path / "file").touch()
    unwritable = {"ZSRETRIEVE_CACHE": str(tmp_path / "file")}
    ((kind, message, hint),) = json.loads(run_without_extras(REFUSE, f"local-dir:{built / 'clip'}", env=unwritable))
    assert (kind, "cannot be written" in message, "ZSRETRIEVE_CACHE" in hint) == ("DeviceError", True, True)
    said = json.loads(run_without_extras(REFUSE, *names, env={"ZSRETRIEVE_CACHE": str(tmp_path / "cache")}))
    kinds = ["OptionalDependencyError"] * 2 + ["WeightsUnavailableError"] * 3
    assert [kind for kind, _, _ in said] == kinds
    for (_, message, hint), words in zip(
        said,
        ["needs PyTorch and open_clip", "needs PyTorch and open_clip",
         "do not belong to its configuration, such as spare",
         "there is no tensor ln_final.bias", "not a whole safetensors file"],
        strict=True,
    ):  # fmt: skip
        assert words in message
        assert "\n" not in message
        assert hint
    assert all("zsretrieve[models]" in hint for kind, _, hint in said if kind == "OptionalDependencyError")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "longer than the file"), (b"\xff" * 64, "longer"), (b"\x02" + bytes(7) + b"[]", "safetensors")],
)  # fmt: skip
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MisfitError, match=why):
        Weights(tmp_path / "file")


def test_offsets_outside_the_file_are_refused(tmp_path: Path) -> None:
    for start, end, shape in [(-4, 0, [1]), (0, 8, [2]), (4, 0, [1]), (0, 4, [2]), (0, 4, [-1, -1])]:
        header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}}).encode()
        (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(MisfitError):
            Weights(tmp_path / "file")


def test_a_scale_is_exponentiated_as_by_torch() -> None:
    for value in (math.log(1 / 0.07), 4.6052, 4.7):
        stored = torch.tensor(value)
        assert float(np.float32(math.exp(float(stored)))) == stored.exp().item()


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    """The configuration file of ``clip`` with other settings in its sections."""
    model = {key: {**CONFIGS["clip"][key], **sections.get(key, {})} for key in ("vision_cfg", "text_cfg")}
    return {
        "model_cfg": {**CONFIGS["clip"], **model},
        "preprocess_cfg": {**PREPROCESSING, **sections.get("preprocess_cfg", {})},
    }


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (changed(vision_cfg={"head_width": 0}), "modulo by zero"),
        (changed(vision_cfg={"patch_size": 0}), "not a size in pixels"),
        (changed(vision_cfg={"image_size": [48, -48]}), "not a size in pixels"),
        (changed(text_cfg={"width": 32.0}), r"width 32\.0"),
        (changed(text_cfg={"mlp_ratio": math.inf}), "cannot convert float infinity"),
        (changed(preprocess_cfg={"interpolation": "lanczos"}), "the interpolation 'lanczos'"),
        (changed(preprocess_cfg={"resize_mode": "cover"}), "the resize mode 'cover'"),
        (changed(preprocess_cfg={"mean": [0.5]}), "three channels"),
        (changed(preprocess_cfg={"std": [1, 0, 1]}), "three channels"),
        (changed(preprocess_cfg={"fill_color": "black"}), "not a whole number"),
        ({"model_cfg": {**CONFIGS["clip"], "vision_cfg": None}}, "'NoneType'"),
        ({"model_cfg": CONFIGS["clip"], "preprocess_cfg": ["mean"]}, "'list'"),
    ],
)
def test_settings_that_no_model_has_are_refused(built: Path, tmp_path: Path, content: dict[str, Any], why: str) -> None:
    (tmp_path / "open_clip_model.safetensors").symlink_to(built / "clip" / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    name = f"local-dir:{tmp_path}"
    with pytest.raises((OutsideError, WeightsUnavailableError), match=why):
        build_once(parse_model_name(name))
    with contextlib.suppress(ModelNameError):  # some of them can be described
        assert zs.describe_model(name)["name"] == name


@pytest.mark.parametrize("scale", [math.nan, math.inf, 1e4])
def test_a_scale_that_is_no_number_is_refused(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    weights = load_file(built / "clip" / "open_clip_model.safetensors")
    save_file({**weights, "logit_scale": torch.tensor(scale)}, str(tmp_path / "open_clip_model.safetensors"))
    (tmp_path / "open_clip_config.json").write_text((built / "clip" / "open_clip_config.json").read_text())
    with pytest.raises(WeightsUnavailableError, match="its logit_scale is"):
        build_once(parse_model_name(f"local-dir:{tmp_path}"))


def test_a_file_of_endless_brackets_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("[" * 100_000)
    with pytest.raises(ModelNameError, match="is not valid"):
        zs.describe_model(f"local-dir:{tmp_path}")
    with pytest.raises(WeightsUnavailableError):
        zs.Model(f"local-dir:{tmp_path}").load()
