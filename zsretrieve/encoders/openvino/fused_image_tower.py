"""The image tower of an open_clip model, from uint8 pixels and without work whose result is unused.

open_clip's own vision transformer is rewritten in three places, each the same sum in another order: one matrix product
embeds the patches, including the scaling of the pixels; attention keeps the order of its axes; and the last block is
computed for the class token alone if only that is pooled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from zsretrieve.domain.records import Preprocessing


def image_tower(model: Any, preprocessing: Preprocessing) -> nn.Module:
    """uint8 images of shape (n, height, width, 3) to features of shape (n, dim), sharing the weights of a model.

    Towers that are not recognised run as they are in open_clip.
    """
    if _is_known(model.visual):
        return _VisionTransformer(model.visual, preprocessing)
    return PlainImageTower(model, preprocessing)


class PlainImageTower(nn.Module):
    """The model's own ``encode_image``, on pixels scaled as in open_clip."""

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._model = model
        self._mean = nn.Buffer(torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self._std = nn.Buffer(torch.tensor(preprocessing.std).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255
        features: torch.Tensor = self._model.encode_image((pixels - self._mean) / self._std)
        return features


class _VisionTransformer(nn.Module):
    """open_clip's ``VisionTransformer`` of plain blocks."""

    def __init__(self, visual: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._visual = visual
        self._patches = _Patches(visual, preprocessing)
        # If one token is pooled alone, the last block needs the others only as keys and values.
        self._token_alone = visual.attn_pool is None and visual.pool_type == "tok"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        visual = self._visual
        x = self._patches(images)
        first = visual.class_embedding.view(1, 1, -1).expand(x.shape[0], -1, -1)
        x = visual.ln_pre(torch.cat([first, x], dim=1) + visual.positional_embedding)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = _block(block, x, x)
        x = _block(last, x[:, :1] if self._token_alone else x, x)
        pooled: torch.Tensor = visual._pool(x)[0]
        return pooled if visual.proj is None else pooled @ visual.proj


class _Patches(nn.Module):
    """Embeds patches by one product: uint8 images (n, height, width, 3) to float32 (n, patches, model's width).

    ``weight * ((pixel / 255 - mean) / std)`` is computed as ``weight / (255 std) * (pixel - m) + bias`` with m the
    integer nearest to 255 mean. Differences of integers are exact in bfloat16, scaled pixels are not.
    """

    def __init__(self, visual: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._grid, self._patch = visual.grid_size, visual.patch_size
        weight = visual.conv1.weight.detach().double()  # (width of the model, 3, patch height, patch width)
        mean, std = (
            torch.tensor(v, dtype=torch.float64, device=weight.device).view(1, 3, 1, 1)
            for v in (preprocessing.mean, preprocessing.std)
        )
        middle = (255 * mean).round()
        scaled = weight / (255 * std)
        self._weight = nn.Buffer(_rows(scaled).float())
        self._bias = nn.Buffer((scaled * (middle - 255 * mean)).sum(dim=(1, 2, 3)).float())
        self._middle = nn.Buffer(_rows(middle.expand(1, 3, *self._patch)).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        (rows, columns), (height, width) = self._grid, self._patch
        # A convolution drops incomplete patches.
        whole = images[:, : rows * height, : columns * width]
        cut = whole.reshape(-1, rows, height, columns, width, 3).permute(0, 1, 3, 2, 4, 5)
        pixels = cut.reshape(-1, rows * columns, height * width * 3).to(torch.float32)
        return F.linear(pixels - self._middle, self._weight, self._bias)


def _rows(kernel: torch.Tensor) -> torch.Tensor:
    """(n, 3, height, width) to (n, height * width * 3), in the order of stored pixels."""
    return kernel.permute(0, 2, 3, 1).flatten(1).contiguous()


def _block(block: Any, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """A block for the tokens ``x``, which are all that are ``seen`` or the first of them."""
    normed = block.ln_1(seen)
    x = x + block.ls_1(_attention(block.attn, normed[:, : x.shape[1]] if x is not seen else normed, normed))
    out: torch.Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _attention(attention: nn.MultiheadAttention, query: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """What ``nn.MultiheadAttention`` computes without a mask, batch first all the way."""
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias

    def projected(x: torch.Tensor, part: int) -> torch.Tensor:
        place = slice(part * width, (part + 1) * width)
        y = F.linear(x, weight[place], None if bias is None else bias[place])
        return y.view(x.shape[0], -1, heads, width // heads).transpose(1, 2)

    scores = (projected(query, 0) * (width // heads) ** -0.5) @ projected(seen, 1).transpose(-1, -2)
    attended = scores.softmax(dim=-1) @ projected(seen, 2)
    out: torch.Tensor = attention.out_proj(attended.transpose(1, 2).reshape(query.shape[0], -1, width))
    return out


def _is_known(visual: Any) -> bool:
    if type(visual).__name__ != "VisionTransformer" or not hasattr(visual, "conv1"):
        return False
    convolution, blocks = visual.conv1, list(visual.transformer.resblocks)
    return (
        convolution.bias is None
        and tuple(convolution.stride) == tuple(convolution.kernel_size) == tuple(visual.patch_size)
        and all(type(block).__name__ == "ResidualAttentionBlock" and _is_plain(block) for block in blocks)
        and bool(blocks)
    )


def _is_plain(block: Any) -> bool:
    attention = block.attn
    return (
        type(attention) is nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not hasattr(block, "ln_1_kv")
    )
