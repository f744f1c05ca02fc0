"""Reading open_clip's configurations: which towers can be built from their weights alone, and in what shape."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from zsretrieve.encoders.catalog.tables import tower_shape


class OutsideError(Exception):
    """A model of a family that is not built here; the message says what it has that those do not."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a transformer.

    Attributes
    ----------
    layers, width, heads, hidden : int
        ``hidden`` is the width between the layers of an MLP.
    activation : str
        ``gelu``, ``gelu_tanh`` or ``quick_gelu``.
    eps : float
        Of the norms.
    scaled : bool
        Whether what a block adds is scaled by learned weights.
    """

    layers: int
    width: int
    heads: int
    hidden: int
    activation: str
    eps: float
    scaled: bool = False


@dataclass(frozen=True)
class ImagePlan:
    """An image tower.

    Attributes
    ----------
    size, patch : tuple of int
        Height and width in pixels.
    blocks : Blocks
    dim : int
        Of its features.
    pool : str
        ``tok``, ``avg``, or ``map``: by attention, as timm's towers of SigLIP.
    norm_before : bool
        Whether patches are normed before the blocks.
    norm_after_pool : bool
        Whether the last norm comes after the pooling.
    """

    size: tuple[int, int]
    patch: tuple[int, int]
    blocks: Blocks
    dim: int
    pool: str
    norm_before: bool = False
    norm_after_pool: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of whole patches."""
        return self.size[0] // self.patch[0], self.size[1] // self.patch[1]


@dataclass(frozen=True)
class TextPlan:
    """A text tower.

    Attributes
    ----------
    context, vocabulary : int
    blocks : Blocks
    dim : int
        Of its features.
    masked : bool
        Whether a token sees only what comes before it.
    pool : str
        ``first``, ``last``, ``argmax`` or ``eos``: the token whose vector is that of the text.
    end_id : int
        The token to pool at if ``eos``.
    projection : str
        ``matrix``, ``linear`` with a bias, or ``none``.
    """

    context: int
    vocabulary: int
    blocks: Blocks
    dim: int
    masked: bool
    pool: str
    end_id: int
    projection: str

    def causal(self, pad_id: int, marks: Set[int]) -> bool:
        """Whether a text's features are independent of how many ``pad_id`` follow it, so that rows may be cut.

        ``marks`` are tokens that every text has, such as that of its end. The first of equal tokens counts, so padding
        with one of them moves nothing.
        """
        if not self.masked:
            return False
        highest = pad_id <= max(marks, default=0)
        ends = self.end_id != pad_id or self.end_id in marks
        return {"first": True, "argmax": highest, "eos": ends}.get(self.pool, False)


@dataclass(frozen=True)
class Plan:
    """A whole model. With ``custom_text``, its weights are named as in open_clip's CustomTextCLIP."""

    image: ImagePlan
    text: TextPlan
    activation: str
    custom_text: bool
    has_bias: bool


# Settings, each with the values that are built here; None stands for a setting that is left out.
_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias",
          "nonscalar_logit_scale"}  # fmt: skip
_ANY_BLOCKS = {"width", "layers", "mlp_ratio", "ls_init_value", "act_kwargs", "norm_kwargs"}
_PLAIN_BLOCKS: dict[str, tuple[Any, ...]] = {
    "block_type": (None, "default"), "output_tokens": (None, False), "qk_norm": (None, False),
    "scaled_cosine_attn": (None, False), "scale_heads": (None, False), "scale_attn_inner": (None, False),
    "scale_attn": (None, False), "scale_fc": (None, False),
}  # fmt: skip
_VISION = {"image_size", "patch_size", "head_width", "patch_dropout", "no_ln_pre", "pos_embed_type",
           "final_ln_after_pool", "attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained", "timm_drop",
           "timm_drop_path", "timm_proj_bias", "timm_pool", "timm_proj"}  # fmt: skip
_TIMM = {"image_size", "timm_model_name", "timm_model_pretrained", "timm_drop", "timm_drop_path", "timm_proj_bias",
         "patch_dropout"}  # fmt: skip
_TEXT = {"context_length", "vocab_size", "heads", "no_causal_mask", "eos_id", "pad_id", "final_ln_after_pool",
         "proj_bias", "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "hf_model_pretrained", "hf_proj_type",
         "hf_pooler_type"}  # fmt: skip


def plan_of(config: dict[str, Any]) -> Plan:
    """The towers of a ``model_cfg``.

    Raises
    ------
    OutsideError
        If they are of a family that is not built here.
    KeyError, TypeError, ValueError, AttributeError, ArithmeticError
        If it is not a configuration of open_clip's.
    """
    _check("the model", config, _MODEL, {})
    quick = bool(config.get("quick_gelu", False))
    vision, dim = config["vision_cfg"], int(config["embed_dim"])
    return Plan(
        image=_timm(vision, dim) if vision.get("timm_model_name") else _vision(vision, dim, quick=quick),
        text=_text(config["text_cfg"], dim, quick=quick),
        activation="quick_gelu" if quick else "gelu",
        custom_text=bool(config.get("custom_text", False)),
        has_bias=config.get("init_logit_bias") is not None,
    )


def _vision(config: dict[str, Any], dim: int, *, quick: bool) -> ImagePlan:
    plain = {**_PLAIN_BLOCKS, "attentional_pool": (None, False), "pool_type": (None, "tok", "avg")}
    _check("the image tower", config, _ANY_BLOCKS | _VISION | {"timm_model_name"}, plain)
    width = config.get("width", 768)
    # First, since a ResNet has no patches.
    blocks = _blocks(config, width, width // config.get("head_width", 64), quick=quick)
    return ImagePlan(
        size=_pair(config.get("image_size", 224)),
        patch=_pair(config.get("patch_size", 16)),
        blocks=blocks,
        dim=dim,
        pool=config.get("pool_type") or "tok",
        norm_before=not config.get("no_ln_pre", False),
        norm_after_pool=bool(config.get("final_ln_after_pool", False)),
    )


def _timm(config: dict[str, Any], dim: int) -> ImagePlan:
    name = str(config["timm_model_name"])
    shape = tower_shape(name)
    if shape is None:
        raise OutsideError(f"its image tower is timm's {name}")
    _check("the image tower", config, _TIMM, {"timm_pool": ("map",), "timm_proj": ("none",)})
    if dim != shape.width:
        raise OutsideError(f"its vectors have {dim} dimensions, and those of timm's {name} {shape.width}")
    blocks = Blocks(shape.layers, shape.width, shape.heads, shape.hidden, shape.activation, eps=1e-6)
    return ImagePlan(_pair(config.get("image_size", 224)), (shape.patch, shape.patch), blocks, dim, "map")


def _text(config: dict[str, Any], dim: int, *, quick: bool) -> TextPlan:
    plain = {
        **_PLAIN_BLOCKS,
        "embed_cls": (None, False),
        "hf_model_name": (None, ""),
        "proj_type": (None, "linear", "none"),
        "pool_type": (None, "first", "last", "argmax", "eos"),
    }
    _check("the text tower", config, _ANY_BLOCKS | _TEXT, plain)
    width = config.get("width", 512)
    projection = "linear" if config.get("proj_bias", False) else "matrix"
    projects = config.get("proj_type", "linear") != "none"
    return TextPlan(
        context=config.get("context_length", 77),
        vocabulary=config.get("vocab_size", 49408),
        blocks=_blocks(config, width, config.get("heads", 8), quick=quick),
        dim=dim if projects else width,
        masked=not config.get("no_causal_mask", False),
        pool=config.get("pool_type") or "argmax",
        end_id=config.get("eos_id", 2),
        projection=projection if projects else "none",
    )


def _blocks(config: dict[str, Any], width: int, heads: int, *, quick: bool) -> Blocks:
    layers = config.get("layers", 12)
    if not isinstance(layers, int):
        raise OutsideError("its image tower is a ResNet")
    if not isinstance(width, int) or layers < 1 or heads < 1 or width % heads:
        raise OutsideError(f"it has {layers} layers of {heads} heads and width {width}")
    activation, norm = config.get("act_kwargs") or {}, config.get("norm_kwargs") or {}
    if set(norm) - {"eps"} or activation not in ({}, {"approximate": "tanh"}, {"approximate": "none"}):
        raise OutsideError("its norms or activations have options of their own")
    if quick and activation:
        raise OutsideError("its activation has options of its own")
    tanh = activation.get("approximate") == "tanh"
    return Blocks(
        layers=layers,
        width=width,
        heads=heads,
        hidden=int(width * config.get("mlp_ratio", 4.0)),
        activation="quick_gelu" if quick else "gelu_tanh" if tanh else "gelu",
        eps=float(norm.get("eps", 1e-5)),
        scaled=config.get("ls_init_value") is not None,
    )


def _check(what: str, config: dict[str, Any], any_value: set[str], plain: dict[str, tuple[Any, ...]]) -> None:
    """Raise OutsideError for a setting that is not known, or that has a value other than those of ``plain``."""
    for key in config:
        if key not in any_value and key not in plain:
            raise OutsideError(f"{what} has the setting {key}")
    for key, values in plain.items():
        if config.get(key) not in values:
            raise OutsideError(f"{what} has the setting {key}: {config.get(key)}")


def _pair(side: Any) -> tuple[int, int]:
    height, width = side if isinstance(side, list | tuple) else (side, side)
    if min(height, width) < 1:
        raise ValueError(f"{side} is not a size in pixels")
    return int(height), int(width)
