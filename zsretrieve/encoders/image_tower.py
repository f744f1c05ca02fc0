"""The picture half of an open_clip model, from stored pixels and without work that nobody reads.

Where it is open_clip's own vision transformer, three things are done otherwise than there, each the same sum in
another order: the patches are embedded by one matrix product into which the scaling of the pixels is multiplied,
attention keeps the order of its axes, and the last block is computed for the class token alone where only that is
pooled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from zsretrieve.records import Preprocessing


def image_tower(model: Any, preprocessing: Preprocessing) -> nn.Module:
    """uint8 pictures of shape (n, height, width, 3) to features of shape (n, dim), sharing the weights of a model.

    What is not recognised runs as open_clip has it, which is always right.
    """
    if _is_known(model.visual):
        return _VisionTransformer(model.visual, preprocessing)
    return PlainImageTower(model, preprocessing)


class PlainImageTower(nn.Module):
    """The model's own ``encode_image`` on pixels that are scaled as open_clip scales them."""

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._model = model
        self._mean = nn.Buffer(torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self._std = nn.Buffer(torch.tensor(preprocessing.std).view(1, 3, 1, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        pixels = pictures.permute(0, 3, 1, 2).to(torch.float32) / 255
        features: torch.Tensor = self._model.encode_image((pixels - self._mean) / self._std)
        return features


class _VisionTransformer(nn.Module):
    """open_clip's ``VisionTransformer`` of plain blocks."""

    def __init__(self, visual: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._visual = visual
        self._patches = _Patches(visual, preprocessing)
        # Of a token that is pooled alone, the last block needs the others as keys and values only.
        self._token_alone = visual.attn_pool is None and visual.pool_type == "tok"

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        visual = self._visual
        x = self._patches(pictures)
        first = visual.class_embedding.view(1, 1, -1).expand(x.shape[0], -1, -1)
        x = visual.ln_pre(torch.cat([first, x], dim=1) + visual.positional_embedding)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = _block(block, x, x)
        x = _block(last, x[:, :1] if self._token_alone else x, x)
        pooled: torch.Tensor = visual._pool(x)[0]
        return pooled if visual.proj is None else pooled @ visual.proj


class _Patches(nn.Module):
    """Patches embedded by one product: uint8 pictures (n, height, width, 3) to float32 (n, patches, model's width).

    ``weight * ((pixel / 255 - mean) / std)`` is taken as ``weight / (255 std) * (pixel - m) + bias`` with m the
    integer next to 255 mean. The differences of integers are exact in bfloat16, which scaled pixels are not.
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

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        (rows, columns), (height, width) = self._grid, self._patch
        # A convolution leaves out what fills no patch.
        whole = pictures[:, : rows * height, : columns * width]
        cut = whole.reshape(-1, rows, height, columns, width, 3).permute(0, 1, 3, 2, 4, 5)
        pixels = cut.reshape(-1, rows * columns, height * width * 3).to(torch.float32)
        return F.linear(pixels - self._middle, self._weight, self._bias)


def _rows(kernel: torch.Tensor) -> torch.Tensor:
    """(n, 3, height, width) to (n, height * width * 3), as stored pixels follow each other."""
    return kernel.permute(0, 2, 3, 1).flatten(1).contiguous()


def _block(block: Any, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """A block for the tokens ``x``, which are those that are ``seen`` or the first of them."""
    normed = block.ln_1(seen)
    x = x + block.ls_1(_attention(block.attn, normed[:, : x.shape[1]] if x is not seen else normed, normed))
    ended: torch.Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return ended


def _attention(attention: nn.MultiheadAttention, query: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """What ``nn.MultiheadAttention`` computes without a mask, batch first all the way."""
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias

    def projected(x: torch.Tensor, part: int) -> torch.Tensor:
        place = slice(part * width, (part + 1) * width)
        y = F.linear(x, weight[place], None if bias is None else bias[place])
        return y.view(x.shape[0], -1, heads, width // heads).transpose(1, 2)

    scores = (projected(query, 0) * (width // heads) ** -0.5) @ projected(seen, 1).transpose(-1, -2)
    found = scores.softmax(dim=-1) @ projected(seen, 2)
    out: torch.Tensor = attention.out_proj(found.transpose(1, 2).reshape(query.shape[0], -1, width))
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
