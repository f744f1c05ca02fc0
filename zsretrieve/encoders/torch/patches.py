"""The vectors of single patches, from open_clip's vision transformers.

MaskCLIP (Zhou et al. 2022, Extract Free Dense Labels from CLIP, arXiv 2112.01071): in the last block attention is left
out, and each patch keeps its own value, projected as the attention's output would be. What follows in the block, the
last norm and the projection are applied to each patch as to the class token, so that its vector can be compared with
those of texts.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer, VisionTransformer
from torch.nn import functional


def has_patches(visual: Any) -> bool:
    """Whether an image tower is such a transformer: pooled by its class token or the mean, with plain attention."""
    return (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and type(visual.transformer) is Transformer
        and type(visual.transformer.resblocks[-1]) is ResidualAttentionBlock
    )


def patch_features(visual: Any, images: torch.Tensor) -> torch.Tensor:
    """Features of patches, of shape (n, rows, columns, dim), not normalised.

    Parameters
    ----------
    visual : open_clip VisionTransformer
        One that ``has_patches``.
    images : torch.Tensor of shape (n, 3, height, width)
        Normalised as the model needs them.
    """
    x = visual._embeds(images)
    *blocks, last = visual.transformer.resblocks
    batch_first = visual.transformer.batch_first
    x = x if batch_first else x.transpose(0, 1)
    for block in blocks:
        x = block(x)
    attention, width = last.attn, x.shape[-1]
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[2 * width :]
    values = functional.linear(last.ln_1(x), attention.in_proj_weight[2 * width :], bias)
    x = x + last.ls_1(attention.out_proj(values))
    x = x + last.ls_2(last.mlp(last.ln_2(x)))
    x = x if batch_first else x.transpose(0, 1)
    patches: torch.Tensor = visual.ln_post(x[:, 1:])
    if visual.proj is not None:
        patches = patches @ visual.proj
    return patches.reshape(len(images), *visual.grid_size, -1)
