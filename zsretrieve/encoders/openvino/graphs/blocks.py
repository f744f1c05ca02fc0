"""The blocks of a transformer as nodes of a graph, with the names that open_clip's or timm's weights have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zsretrieve.encoders.catalog.plan import Blocks
from zsretrieve.encoders.openvino.graphs.weights import Weights
from zsretrieve.encoders.openvino.runtime import openvino

op: Any = openvino.opset13
_QUICK = 1.702


@dataclass(frozen=True)
class Names:
    """What the parts of a block are called; ``joined`` are the weights of queries, keys and values in one."""

    norm_1: str
    joined: tuple[str, str]
    out: str
    scale_1: str
    norm_2: str
    mlp: tuple[str, str]
    scale_2: str


OPEN_CLIP = Names(
    "ln_1", ("attn.in_proj_weight", "attn.in_proj_bias"), "attn.out_proj", "ls_1.gamma",
    "ln_2", ("mlp.c_fc", "mlp.c_proj"), "ls_2.gamma",
)  # fmt: skip
TIMM = Names(
    "norm1", ("attn.qkv.weight", "attn.qkv.bias"), "attn.proj", "ls1.gamma",
    "norm2", ("mlp.fc1", "mlp.fc2"), "ls2.gamma",
)  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """Writes layers into a graph: each method returns the node that computes one, float32 unless said otherwise."""

    weights: Weights
    blocks: Blocks

    def norm(self, x: Any, name: str) -> Any:
        """LayerNorm over the last axis, of the blocks' width."""
        width = self.blocks.width
        normed = op.mvn(x, [-1], True, self.blocks.eps, "inside_sqrt")
        scaled = op.multiply(normed, self.weights.node(f"{name}.weight", (width,)))
        return op.add(scaled, self.weights.node(f"{name}.bias", (width,)))

    def linear(self, x: Any, name: str, before: int, after: int) -> Any:
        """A product with weights of shape (after, before), and a bias."""
        product = op.matmul(x, self.weights.node(f"{name}.weight", (after, before)), False, True)
        return op.add(product, self.weights.node(f"{name}.bias", (after,)))

    def mlp(self, x: Any, names: tuple[str, str]) -> Any:
        """Two products with the activation between them."""
        width, hidden = self.blocks.width, self.blocks.hidden
        inner = activated(self.linear(x, names[0], width, hidden), self.blocks.activation)
        return self.linear(inner, names[1], hidden, width)

    def heads(self, x: Any, weight: str, bias: str, part: int, parts: int) -> Any:
        """One of several products that are stored in one, split among heads: (n, heads, tokens, width of a head).

        Where each is stored alone, its name ends with its number.
        """
        width, heads = self.blocks.width, self.blocks.heads
        rows = slice(part * width, (part + 1) * width)
        if f"{weight}.{part}" in self.weights:
            weight, bias, parts, rows = f"{weight}.{part}", f"{bias}.{part}", 1, slice(None)
        y = op.matmul(x, self.weights.node(weight, (parts * width, width), rows), False, True)
        y = op.add(y, self.weights.node(bias, (parts * width,), rows))
        return op.transpose(op.reshape(y, integers(0, -1, heads, width // heads), True), integers(0, 2, 1, 3))

    def joined(self, attended: Any) -> Any:
        """What ``heads`` split: (n, tokens, width)."""
        return op.reshape(op.transpose(attended, integers(0, 2, 1, 3)), integers(0, -1, self.blocks.width), True)

    def block(self, x: Any, seen: Any, prefix: str, names: Names, mask: Any = None) -> Any:
        """A block for the tokens ``x``, which are all that are ``seen`` or some of them."""
        normed = self.norm(seen, f"{prefix}.{names.norm_1}")
        query = normed if x is seen else self.norm(x, f"{prefix}.{names.norm_1}")
        weight, bias = (f"{prefix}.{name}" for name in names.joined)
        q, k, v = (self.heads(one, weight, bias, part, 3) for part, one in enumerate((query, normed, normed)))
        out = self.linear(self.joined(attention(q, k, v, mask)), f"{prefix}.{names.out}", *(self.blocks.width,) * 2)
        x = op.add(x, self._scaled(out, f"{prefix}.{names.scale_1}"))
        out = self.mlp(
            self.norm(x, f"{prefix}.{names.norm_2}"), (f"{prefix}.{names.mlp[0]}", f"{prefix}.{names.mlp[1]}")
        )
        return op.add(x, self._scaled(out, f"{prefix}.{names.scale_2}"))

    def _scaled(self, x: Any, name: str) -> Any:
        return op.multiply(x, self.weights.node(name, (self.blocks.width,))) if self.blocks.scaled else x


def attention(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    """Softmax attention, each of shape (n, heads, tokens, width of a head), with what is added to the scores."""
    if mask is None:
        return op.scaled_dot_product_attention(q, k, v)
    return op.scaled_dot_product_attention(q, k, v, mask)


def activated(x: Any, kind: str) -> Any:
    if kind == "quick_gelu":
        return op.swish(x, op.constant(np.float32(_QUICK)))
    return op.gelu(x, "tanh" if kind == "gelu_tanh" else "erf")


def integers(*values: int) -> Any:
    """A constant of int64, such as a shape."""
    return op.constant(np.array(values, dtype=np.int64))


def floats(values: ArrayLike) -> Any:
    """A constant of float32 in memory."""
    return op.constant(np.ascontiguousarray(values, dtype=np.float32))
