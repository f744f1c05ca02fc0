"""Vectors of patches are MaskCLIP's, computed plainly from the weights of open_clip's own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kits.models import CLIP_TEXT, CONFIGS, write_config, write_model
from PIL import Image
from torch import nn
from torch.nn import functional as F

import zsretrieve as zs
from zsretrieve.domain.heat import windows
from zsretrieve.domain.settings import Compute
from zsretrieve.encoders.torch.encoder import TorchEncoder
from zsretrieve.encoders.torch.patches import has_patches

VIT = CONFIGS["vit-quickgelu"]["model_cfg"]["vision_cfg"]
# Layers scaled by weights, another pooling, no norm before, and the last norm after the pooling.
OTHER = {**VIT, "ls_init_value": 0.5, "pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True, "layers": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    other = {"model_cfg": {"embed_dim": 32, "vision_cfg": OTHER, "text_cfg": CLIP_TEXT}}
    return {
        "vit": write_model("vit-quickgelu", root / "vit"),
        "other": write_config(other, root / "other", seed=1),
        "siglip-like": write_model("siglip-like", root / "siglip-like"),
    }


def encoder_of(folders: dict[str, Path], name: str, **compute: Any) -> TorchEncoder:
    return TorchEncoder(f"local-dir:{folders[name]}", Compute(device="cpu", **{"precision": "fp32", **compute}))


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def plainly(visual: Any, pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """MaskCLIP of one image, step by step, of shape (rows, columns, dim): attention weights are the identity."""
    weights = {name: value.detach().double() for name, value in visual.state_dict().items()}
    x = torch.from_numpy(pixels.copy()).double().permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    patch = visual.patch_size[0]
    x = F.conv2d(x, weights["conv1.weight"], stride=patch)
    rows, columns = x.shape[2:]
    x = torch.cat([weights["class_embedding"][None, None], x.flatten(2).transpose(1, 2)], dim=1)
    x = x + weights["positional_embedding"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    if not isinstance(visual.ln_pre, nn.Identity):
        x = norm(x, "ln_pre")
    layers = len(visual.transformer.resblocks)
    for number, block in enumerate(visual.transformer.resblocks):
        name = f"transformer.resblocks.{number}"
        q, k, v = F.linear(
            norm(x, f"{name}.ln_1"), weights[f"{name}.attn.in_proj_weight"], weights[f"{name}.attn.in_proj_bias"]
        ).chunk(3, dim=-1)
        heads = block.attn.num_heads
        q, k, v = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (q, k, v))
        shares = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        if number == layers - 1:
            shares = torch.eye(shares.shape[-1]).double().expand_as(shares)
        attended = linear((shares @ v).transpose(1, 2).flatten(2), f"{name}.attn.out_proj")
        x = x + attended * weights.get(f"{name}.ls_1.gamma", torch.ones(())).double()
        hidden = block.mlp.gelu(linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc"))
        x = x + linear(hidden, f"{name}.mlp.c_proj") * weights.get(f"{name}.ls_2.gamma", torch.ones(())).double()
    x = norm(x[:, 1:], "ln_post") @ weights["proj"]
    x = x / x.norm(dim=-1, keepdim=True)
    return x.reshape(rows, columns, -1).numpy()


@pytest.mark.parametrize("name", ["vit", "other"])
def test_patches_are_those_of_a_plain_computation(folders: dict[str, Path], name: str) -> None:
    encoder = encoder_of(folders, name)
    assert encoder.has_patches
    prepared = [encoder.prepare(photo(60, 60, seed)) for seed in (1, 2)]
    found = encoder.encode_patches(prepared)
    assert (found.shape, found.dtype) == ((2, 3, 3, 32), np.float32)
    preprocessing = encoder.space.preprocessing
    for one, pixels in zip(found, prepared, strict=True):
        expected = plainly(encoder._model.visual, pixels, preprocessing.mean, preprocessing.std)
        np.testing.assert_allclose(one, expected, atol=2e-5)
    # In bf16 they are near.
    rough = encoder_of(folders, name, precision="bf16").encode_patches(prepared)
    assert np.einsum("bijd,bijd->bij", rough, found).min() > 0.95


def test_towers_without_patches_have_none(folders: dict[str, Path], demo_encoder: object) -> None:
    assert not encoder_of(folders, "siglip-like").has_patches
    assert not has_patches(nn.Linear(2, 2))
    assert not hasattr(demo_encoder, "has_patches")


def test_a_look_is_the_product_of_patches_and_texts(folders: dict[str, Path]) -> None:
    encoder, texts = encoder_of(folders, "vit"), ["a red star", "snow"]
    image = photo(57, 57)
    found = zs.look(image, texts, encoder)
    assert (found.method, found.reason, found.path) == ("patches", None, None)
    patches = encoder.encode_patches([encoder.prepare(image)])[0]
    for heat, vector in zip(found.maps, encoder.encode_texts(texts), strict=True):
        np.testing.assert_allclose(heat.scores, patches @ vector, atol=1e-6)


def test_squares_cover_a_wide_image_and_are_averaged(folders: dict[str, Path]) -> None:
    encoder, image = encoder_of(folders, "vit"), photo(160, 64)
    (heat,) = zs.look(image, "a red star", encoder, method="patches").maps
    assert heat.scores.shape == (3, 8)
    vector = encoder.encode_texts(["a red star"])[0]
    sums, counts = np.zeros((3, 8)), np.zeros((3, 8))
    for left, _, right, _ in windows(160, 64, 1):
        part = image.crop((round(left * 160), 0, round(right * 160), 64))
        scores = encoder.encode_patches([encoder.prepare(part)])[0] @ vector
        for column in range(8):
            middle = (column + 0.5) / 8
            if left <= middle <= right:
                sums[:, column] += scores[:, min(2, int((middle - left) / (right - left) * 3))]
                counts[:, column] += 1
    np.testing.assert_allclose(heat.scores, sums / counts, atol=1e-6)


def test_without_patches_tiles_are_taken_and_the_reason_is_given(folders: dict[str, Path]) -> None:
    model = f"local-dir:{folders['siglip-like']}"
    found = zs.look(photo(40, 40), "a red star", zs.Model(model, zs.Compute(device="cpu")))
    assert (found.method, found.maps[0].scores.shape) == ("tiles", (32, 32))
    assert found.reason is not None
    assert "no vectors of patches" in found.reason
    with pytest.raises(zs.UsageError, match="no vectors of patches"):
        zs.look(photo(40, 40), "a red star", zs.Model(model, zs.Compute(device="cpu")), method="patches")
    with pytest.raises(zs.UsageError, match="another engine"):
        zs.look(photo(40, 40), "a", zs.Model("demo", zs.Compute(engine="openvino")), method="patches")
