"""The text tower of an open_clip model, for tokens cut to any width.

In a causal tower a token only sees what comes before it. If the vector is that of the text's last token, the padding
after it has no effect and need not be computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def text_tower(model: Any, pad_id: int = 0) -> TextTower:
    """The text tower of an open_clip model, sharing its weights.

    Parameters
    ----------
    model : CLIP, CustomTextCLIP or CoCa of open_clip
    pad_id : int
        The token that fills a row after its text.
    """
    if not is_causal(model, pad_id):
        return _Whole(model)
    return _Causal(text_of(model)) if _cls_of(model) is None else _WithClassToken(text_of(model))


def is_causal(model: Any, pad_id: int = 0) -> bool:
    """Whether the vectors of texts are independent of how many ``pad_id`` follow them.

    Judged by the structure alone: a causal mask over the blocks that open_clip builds, and pooling at a token of the
    text itself. What is not recognised counts as not causal, which is correct and only slower.
    """
    text = text_of(model)
    mask = getattr(text, "attn_mask", None)
    if mask is None or type(getattr(text, "transformer", None)).__name__ not in ("Transformer", "CustomTransformer"):
        return False
    ahead = torch.ones_like(mask, dtype=torch.bool).triu(1)
    if not torch.isneginf(mask[ahead]).all():
        return False
    if _cls_of(model) is not None:
        return bool(text.pad_id == pad_id)  # the class token sees everything but ``text.pad_id``
    match _pooling(text):
        case "argmax":
            return pad_id == 0  # a greater one could be the maximum of the row
        case "eos":
            return bool(_end_id(text) != pad_id)
        case "first":
            return True
        case _:
            return False


class TextTower(nn.Module):
    """Tokens, int64 of shape (n, width), to features of shape (n, dim): up to their length, those of ``encode_text`` at
    full context.

    ``causal`` towers take rows of any width that holds the text; others take rows of the full context.
    """

    causal: bool


class _Whole(TextTower):
    causal = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._model.encode_text(tokens)
        return features


class _Causal(TextTower):
    """Pooled at one token of the text."""

    causal = True
    _mask: torch.Tensor

    def __init__(self, text: Any) -> None:
        super().__init__()
        self._embedding, self._positions = text.token_embedding, text.positional_embedding
        self._transformer, self._norm = text.transformer, text.ln_final
        self._projection = text.text_projection
        self._pooling, self._end_id = _pooling(text), _end_id(text)
        blocks = list(text.transformer.resblocks)
        known = type(blocks[-1]).__name__ == "ResidualAttentionBlock"
        self._before, self._last = nn.ModuleList(blocks[:-1]), blocks[-1] if known else None
        self.register_buffer("_mask", text.attn_mask, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        width = tokens.shape[1]
        dtype = self._transformer.get_cast_dtype()
        x = self._embedding(tokens).to(dtype) + self._positions[:width].to(dtype)
        mask = self._mask[:width, :width]
        place = self._place(tokens)
        row = torch.arange(x.shape[0], device=x.device)
        if self._last is None:
            x = self._transformer(x, attn_mask=mask)[row, place]
        else:
            for block in self._before:
                x = block(x, attn_mask=mask)
            x = self._last_block(x, x[row, place], mask[place])
        return _projected(self._norm(x), self._projection)

    def _last_block(self, x: torch.Tensor, pooled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last block for the pooled token alone, since the others are not used after it."""
        block: Any = self._last
        seen = block.ln_1(x)
        mask = mask[:, None, None].expand(-1, block.attn.num_heads, -1, -1).flatten(0, 1)
        query = pooled[:, None]
        query = query + block.ls_1(block.attention(block.ln_1(query), seen, seen, attn_mask=mask))
        out: torch.Tensor = query + block.ls_2(block.mlp(block.ln_2(query)))
        return out[:, 0]

    def _place(self, tokens: torch.Tensor) -> torch.Tensor:
        """The position of the token that the text is pooled at: int64 of shape (n,)."""
        if self._pooling == "first":
            return torch.zeros_like(tokens[:, 0])
        marks = tokens if self._pooling == "argmax" else (tokens == self._end_id).int()
        return marks.argmax(dim=-1)


class _WithClassToken(TextTower):
    """Pooled at a class token after the padding, as CoCa's.

    The mask of existing weights is shifted by one position: the class token does not see itself but the first token of
    padding, unless the text fills the context. So one token of padding is appended to every row, visible if the context
    has room for it and masked otherwise.
    """

    causal = True
    _mask: torch.Tensor
    _room: torch.Tensor

    def __init__(self, text: Any) -> None:
        super().__init__()
        self._embedding, self._positions = text.token_embedding, text.positional_embedding
        self._class_token = text.cls_emb
        self._transformer, self._norm = text.transformer, text.ln_final
        self._projection = text.text_projection
        self._pad_id, self._heads, self._shifted = text.pad_id, text.heads, not text.correct_cls_mask
        longest = text.context_length + 2
        mask = torch.full((longest, longest), float("-inf"), device=text.attn_mask.device).triu(1)
        self.register_buffer("_mask", mask, persistent=False)
        room = torch.arange(1, text.context_length + 1, device=text.attn_mask.device) < text.context_length
        self.register_buffer("_room", room, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        width = tokens.shape[1]
        dtype = self._transformer.get_cast_dtype()
        x = self._embedding(F.pad(tokens, (0, 1), value=self._pad_id)).to(dtype)
        x = x + self._positions[: width + 1].to(dtype)
        last = (self._class_token + self._positions[-1]).to(dtype)
        x = torch.cat([x, last.view(1, 1, -1).expand(x.shape[0], -1, -1)], dim=1)
        visible = self._visible(tokens, width)
        hidden = torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, float("-inf"))
        mask = hidden[:, None] + self._mask[: width + 2, : width + 2].to(dtype)
        mask = mask[:, None].expand(-1, self._heads, -1, -1).flatten(0, 1)
        x = self._transformer(x, attn_mask=mask)
        return _projected(self._norm(x[:, -1]), self._projection)

    def _visible(self, tokens: torch.Tensor, width: int) -> torch.Tensor:
        """Which positions may be seen at all: bool of shape (n, width + 2)."""
        text = tokens != self._pad_id
        always = torch.ones_like(text[:, :1])
        if not self._shifted:
            return torch.cat([text, ~always, always], dim=1)
        room = self._room[width - 1 : width]
        return torch.cat([always, text[:, :-1], text[:, -1:] & room, text[:, -1:] & ~room], dim=1)


def _projected(x: torch.Tensor, projection: Any) -> torch.Tensor:
    if projection is None:
        return x
    projected: torch.Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return projected


def text_of(model: Any) -> Any:
    """The part of an open_clip model that has the weights of its text tower: itself, or a part of its own."""
    return model if hasattr(model, "token_embedding") else model.text


def _cls_of(model: Any) -> Any:
    return getattr(text_of(model), "cls_emb", None)


def _pooling(text: Any) -> str:
    return str(text.text_pool_type if hasattr(text, "text_pool_type") else text.pool_type)


def _end_id(text: Any) -> int:
    return int(text.text_eos_id if hasattr(text, "text_eos_id") else text.eos_id)
