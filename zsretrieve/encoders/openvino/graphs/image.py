"""Image towers as graphs: open_clip's own vision transformer, and timm's that pool by attention.

As in ``fused_image_tower``, one product embeds the patches, including the scaling of the pixels, and the last block is
computed for the class token alone if only that is pooled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zsretrieve.domain.records import Preprocessing
from zsretrieve.encoders.catalog.plan import ImagePlan
from zsretrieve.encoders.openvino.graphs.blocks import OPEN_CLIP, TIMM, Layers, attention, floats, integers, op
from zsretrieve.encoders.openvino.graphs.weights import MisfitError, Weights
from zsretrieve.encoders.openvino.runtime import openvino

_VISUAL, _TRUNK = "visual", "visual.trunk"


def image_graph(plan: ImagePlan, weights: Weights, preprocessing: Preprocessing) -> Any:
    """uint8 images of shape (n, height, width, 3) to float32 features of shape (n, dim).

    Raises MisfitError if the weights are not those of the plan.
    """
    images = op.parameter([-1, *plan.size, 3], np.uint8, name="images")
    make = _timm if plan.pool == "map" else _open_clip
    return openvino.Model([make(images, plan, weights, preprocessing)], [images], "image")


def _open_clip(images: Any, plan: ImagePlan, weights: Weights, preprocessing: Preprocessing) -> Any:
    layers, width = Layers(weights, plan.blocks), plan.blocks.width
    tokens = plan.grid[0] * plan.grid[1] + 1
    places = weights.array(f"{_VISUAL}.positional_embedding", (tokens, width))
    first = weights.array(f"{_VISUAL}.class_embedding", (width,)) + places[0]
    patches = op.add(_patches(images, plan, weights, preprocessing, f"{_VISUAL}.conv1"), floats(places[1:]))
    n = op.gather(op.shape_of(images), integers(0), integers(0))
    shape = op.concat([n, integers(1, width)], 0)
    x = op.concat([op.broadcast(floats(first), shape), patches], 1)
    if plan.norm_before:
        x = layers.norm(x, f"{_VISUAL}.ln_pre")
    last = plan.blocks.layers - 1
    for number in range(plan.blocks.layers):
        alone = number == last and plan.pool == "tok"
        query = op.slice(x, integers(0), integers(1), integers(1), integers(1)) if alone else x
        x = layers.block(query, x, f"{_VISUAL}.transformer.resblocks.{number}", OPEN_CLIP)
    if not plan.norm_after_pool:
        x = layers.norm(x, f"{_VISUAL}.ln_post")
    if plan.pool == "tok":
        x = op.squeeze(x, integers(1))
    else:
        rest = op.slice(x, integers(1), integers(tokens), integers(1), integers(1))
        x = op.reduce_mean(rest, integers(1), False)
    if plan.norm_after_pool:
        x = layers.norm(x, f"{_VISUAL}.ln_post")
    return op.matmul(x, weights.node(f"{_VISUAL}.proj", (width, plan.dim)), False, False)


def _timm(images: Any, plan: ImagePlan, weights: Weights, preprocessing: Preprocessing) -> Any:
    layers, width = Layers(weights, plan.blocks), plan.blocks.width
    tokens = plan.grid[0] * plan.grid[1]
    places = weights.array(f"{_TRUNK}.pos_embed", (1, tokens, width))
    bias = weights.array(f"{_TRUNK}.patch_embed.proj.bias", (width,))
    patches = _patches(images, plan, weights, preprocessing, f"{_TRUNK}.patch_embed.proj")
    x = op.add(patches, floats(places + bias))
    for number in range(plan.blocks.layers):
        x = layers.block(x, x, f"{_TRUNK}.blocks.{number}", TIMM)
    x = layers.norm(x, f"{_TRUNK}.norm")
    # The query is the same for all images, so that its product is computed here.
    pool, heads = f"{_TRUNK}.attn_pool", plan.blocks.heads
    latent = weights.array(f"{pool}.latent", (1, 1, width)).astype(np.float64)
    weight, bias = weights.array(f"{pool}.q.weight", (width, width)), weights.array(f"{pool}.q.bias", (width,))
    query = (latent @ weight.T + bias).reshape(1, 1, heads, width // heads).transpose(0, 2, 1, 3)
    k, v = (layers.heads(x, f"{pool}.kv.weight", f"{pool}.kv.bias", part, 2) for part in (0, 1))
    n = op.gather(op.shape_of(images), integers(0), integers(0))
    queries = op.broadcast(floats(query), op.concat([n, integers(heads, 1, width // heads)], 0))
    x = layers.linear(layers.joined(attention(queries, k, v)), f"{pool}.proj", width, width)
    normed = layers.norm(x, f"{pool}.norm")
    return op.squeeze(op.add(x, layers.mlp(normed, (f"{pool}.mlp.fc1", f"{pool}.mlp.fc2"))), integers(1))


def _patches(images: Any, plan: ImagePlan, weights: Weights, preprocessing: Preprocessing, name: str) -> Any:
    """Patches embedded by one product: float32 of shape (n, patches, width).

    ``weight * ((pixel / 255 - mean) / std)`` is computed as ``weight / (255 std) * (pixel - m) + bias`` with m the
    integer nearest to 255 mean. Differences of integers are exact in bfloat16, scaled pixels are not.
    """
    (rows, columns), (height, width), out = plan.grid, plan.patch, plan.blocks.width
    if not rows or not columns:
        raise MisfitError(f"its images of {plan.size} pixels have no whole patch")
    kernel = weights.array(f"{name}.weight", (out, 3, height, width)).astype(np.float64)
    mean, std = (
        np.array(value, dtype=np.float64).reshape(3, 1, 1) for value in (preprocessing.mean, preprocessing.std)
    )
    middle = np.round(255 * mean)
    scaled = kernel / (255 * std)
    bias = (scaled * (middle - 255 * mean)).sum(axis=(1, 2, 3))
    if (rows * height, columns * width) != plan.size:  # a convolution drops incomplete patches
        images = op.slice(
            images, integers(0, 0), integers(rows * height, columns * width), integers(1, 1), integers(1, 2)
        )
    cut = op.reshape(images, integers(-1, rows, height, columns, width, 3), False)
    flat = op.reshape(
        op.transpose(cut, integers(0, 1, 3, 2, 4, 5)), integers(-1, rows * columns, height * width * 3), False
    )
    around = np.broadcast_to(middle.reshape(3), (height, width, 3)).reshape(-1)
    pixels = op.subtract(op.convert(flat, "f32"), floats(around))
    product = op.matmul(pixels, floats(scaled.transpose(0, 2, 3, 1).reshape(out, -1)), False, True)
    return op.add(product, floats(bias))
