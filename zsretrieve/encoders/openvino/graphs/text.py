"""Text towers as graphs: open_clip's own transformer, with or without its causal mask.

Only one token of the last block is used, so only that is computed there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zsretrieve.encoders.catalog.plan import TextPlan
from zsretrieve.encoders.openvino.graphs.blocks import OPEN_CLIP, Layers, floats, integers, op
from zsretrieve.encoders.openvino.graphs.weights import Weights
from zsretrieve.encoders.openvino.runtime import openvino


def text_graph(plan: TextPlan, weights: Weights, prefix: str, *, causal: bool) -> Any:
    """int64 tokens of shape (n, width) to float32 features of shape (n, dim).

    Parameters
    ----------
    plan : TextPlan
    weights : Weights
    prefix : str
        What the names of the tower's weights begin with.
    causal : bool
        Whether rows may have any width that holds the text; otherwise they have the full context.

    Raises
    ------
    MisfitError
        If the weights are not those of the plan.
    """
    layers, width = Layers(weights, plan.blocks), plan.blocks.width
    tokens = op.parameter([-1, -1 if causal else plan.context], np.int64, name="tokens")
    words = op.gather(weights.node(f"{prefix}token_embedding.weight", (plan.vocabulary, width)), tokens, integers(0))
    places = weights.node(f"{prefix}positional_embedding", (plan.context, width))
    length = op.gather(op.shape_of(tokens), integers(1), integers(0))
    mask = None
    if causal:
        places = op.slice(places, integers(0), length, integers(1), integers(0))
    if plan.masked:
        hidden = floats(np.triu(np.full((plan.context, plan.context), -np.inf), 1))
        zero, one = integers(0, 0), integers(1, 1)
        mask = op.slice(hidden, zero, op.concat([length, length], 0), one) if causal else hidden
    x = op.add(words, places)
    for number in range(plan.blocks.layers - 1):
        x = layers.block(x, x, _block(prefix, number), OPEN_CLIP, mask)
    place = _place(plan, tokens, length)  # (n, 1)
    pooled = op.gather(x, place, integers(1), 1)
    seen = None if mask is None else op.unsqueeze(op.gather(mask, place, integers(0)), integers(1))
    x = layers.block(pooled, x, _block(prefix, plan.blocks.layers - 1), OPEN_CLIP, seen)
    x = op.squeeze(layers.norm(x, f"{prefix}ln_final"), integers(1))
    if plan.projection == "linear":
        x = layers.linear(x, f"{prefix}text_projection", width, plan.dim)
    elif plan.projection == "matrix":
        x = op.matmul(x, weights.node(f"{prefix}text_projection", (width, plan.dim)), False, False)
    return openvino.Model([x], [tokens], "text")


def _block(prefix: str, number: int) -> str:
    return f"{prefix}transformer.resblocks.{number}"


def _place(plan: TextPlan, tokens: Any, length: Any) -> Any:
    """The position of the token that a text is pooled at, the first of equal ones: int64 of shape (n, 1)."""
    if plan.pool in ("first", "last"):
        first = op.reduce_min(op.multiply(tokens, integers(0)), integers(1), True)
        return first if plan.pool == "first" else op.add(first, op.subtract(length, integers(1)))
    wanted = op.reduce_max(tokens, integers(1), True) if plan.pool == "argmax" else integers(plan.end_id)
    positions = op.range(integers_scalar(0), op.squeeze(length, integers(0)), integers_scalar(1), "i64")
    found = op.select(op.equal(tokens, wanted), positions, integers(plan.context))
    place = op.reduce_min(found, integers(1), True)
    # Without the token there is none, and the first is taken.
    return op.select(op.equal(place, integers(plan.context)), integers(0), place)


def integers_scalar(value: int) -> Any:
    return op.constant(np.int64(value))
