"""What is trained of a model: its text tower, or what is added to it, with the temperature of its loss."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.model_training import Loss, TrainingSettings, Tune
from zsretrieve.encoders.catalog.model_name import CONFIG
from zsretrieve.encoders.torch.loading import OpenClipModel
from zsretrieve.encoders.torch.text_tower import text_of, text_tower

# Texts per batch where no gradient is needed.
_AT_ONCE = 256
# No higher inverse temperature than this, as in CLIP (Radford et al. 2021, section 2.5).
_MOST_SCALE = 100.0
# Where a model has no bias yet (Zhai et al. 2023, section 3.2).
_FIRST_SCALE, _FIRST_BIAS = 10.0, -10.0
_NOT_TEXT = ("visual.", "text_decoder.", "logit_scale", "logit_bias")
_SCALE, _BIAS, _MAP = "logit_scale", "logit_bias", "map"
# Of low-rank additions. The paper found no use in more (section 7.2).
_RANK = 8


class TrainedTexts:
    """The text side of a model, encoding numbered captions; ``parameters`` are trained, everything else is fixed.

    Parameters
    ----------
    loaded : OpenClipModel
        Changed by training.
    config : dict
        Its ``model_cfg``, for weights from scratch.
    captions : sequence of str
    settings : TrainingSettings
    device : torch.device
    half : bool
        Compute in bf16 where that is safe, by autocast.

    Raises
    ------
    UsageError
        If the tower has no projection that a linear map could become part of, or no blocks of open_clip.
    """

    def __init__(
        self,
        loaded: OpenClipModel,
        config: dict[str, Any],
        captions: Sequence[str],
        settings: TrainingSettings,
        device: torch.device,
        *,
        half: bool = False,
    ) -> None:
        self._model, self._device, self._half = loaded.model.to(device), device, half
        self._tokens = tokens_of(loaded.tokenizer, captions)
        if settings.from_scratch:
            _restart(self._model, config, self._tokens, settings.seed)
        loss = settings.loss or (Loss.CLIP if getattr(self._model, _BIAS, None) is None else Loss.SIGLIP)
        self.loss = loss
        set_bias(self._model, loss)
        self._model.requires_grad_(requires_grad=False)
        self._tower = text_tower(self._model)
        self._fixed: torch.Tensor | None = None
        self.parameters: dict[str, nn.Parameter] = {}
        if settings.tune is Tune.LINEAR:
            check_projection(self._model)
            self._fixed = self.all_vectors().to(device)
            dim = self._fixed.shape[1]
            trained = {_MAP: nn.Parameter(torch.eye(dim, device=device))}
        elif settings.tune is Tune.LORA:
            trained = _with_additions(self._model, settings.seed)
        else:
            trained = {name: value for name, value in self._model.named_parameters() if not name.startswith(_NOT_TEXT)}
        trained |= {
            name: getattr(self._model, name) for name in (_SCALE, _BIAS) if getattr(self._model, name, None) is not None
        }
        self.parameters = trained
        for parameter in trained.values():
            parameter.requires_grad_()

    @property
    def scale(self) -> torch.Tensor:
        """The inverse temperature."""
        return self.parameters[_SCALE].exp()

    @property
    def bias(self) -> torch.Tensor | None:
        return self.parameters.get(_BIAS)

    def vectors(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        """Captions by their numbers: float32 of shape (n, dim), unit rows, with gradients."""
        if self._fixed is not None:
            return F.normalize(self._fixed[torch.from_numpy(numbers).to(self._device)] @ self.parameters[_MAP], dim=-1)
        tokens = self._tokens[torch.from_numpy(numbers)].long()
        if self._tower.causal:
            tokens = tokens[:, : _width(tokens)]
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half):
            features = self._tower(tokens.to(self._device))
        return F.normalize(features.float(), dim=-1)

    def all_vectors(self, numbers: NDArray[np.int64] | None = None) -> torch.Tensor:
        """``vectors`` of many captions, or all, on the CPU and without gradients."""
        wanted = np.arange(len(self._tokens)) if numbers is None else numbers
        self._tower.eval()
        with torch.no_grad():
            parts = [self.vectors(wanted[start : start + _AT_ONCE]).cpu() for start in range(0, len(wanted), _AT_ONCE)]
        return torch.cat(parts)

    def train(self) -> None:
        """Turn on what a tower only does in training."""
        self._tower.train()

    def clamp(self) -> None:
        """Keep the inverse temperature between 1 and 100."""
        with torch.no_grad():
            self.parameters[_SCALE].clamp_(0, math.log(_MOST_SCALE))

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of what is trained, on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.parameters.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take over a copy that ``state`` made."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state[name])

    def finished(self) -> Any:
        """The model with what was trained in it; what was added becomes part of its weights."""
        if _MAP in self.parameters:
            _fold(self._model, self.parameters[_MAP].detach())
        for module in self._model.modules():
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):
                    parametrize.remove_parametrizations(module, name)
        return self._model.requires_grad_(requires_grad=False).eval().cpu()


def check_projection(model: Any) -> None:
    """Raise UsageError unless a linear map can become part of the projection of the text tower."""
    projection = getattr(text_of(model), "text_projection", None)
    if not isinstance(projection, nn.Linear | torch.Tensor):
        raise UsageError(
            "the text tower of this model ends with no linear projection, which a linear map would become part of",
            hint="Use `tune` text.",
        )


def _fold(model: Any, linear: torch.Tensor) -> None:
    """Multiply the projection of the text tower with a map: (x P) A = x (P A), and with a bias b also b A."""
    projection, wide = text_of(model).text_projection, linear.double()
    with torch.no_grad():
        if isinstance(projection, nn.Linear):
            projection.weight.copy_(wide.T @ projection.weight.double())
            if projection.bias is not None:
                projection.bias.copy_(projection.bias.double() @ wide)
        else:
            projection.copy_(projection.double() @ wide)


class _LowRank(nn.Module):
    """A matrix W of shape (m, n) with what is learnt beside it, W + U D, where U (m, r) begins as zero and D (r, n) as
    random (Hu et al. 2021, section 4.1).
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(weight.new_zeros(rows, _RANK))
        self.down = nn.Parameter(weight.new_empty(_RANK, columns))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.up @ self.down


def _with_additions(model: Any, seed: int) -> dict[str, nn.Parameter]:
    """Add to each matrix of the text tower's blocks, and return the parameters of the additions by name."""
    check_blocks(model)
    blocks = text_of(model).transformer.resblocks
    added: dict[str, nn.Parameter] = {}
    with seeded(seed):
        for place, module in list(blocks.named_modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                if weight.ndim == 2:
                    addition = _LowRank(weight.detach())
                    parametrize.register_parametrization(module, name, addition)
                    added |= {f"{place}.{name}.{part}": value for part, value in addition.named_parameters()}
    return added


def check_blocks(model: Any) -> None:
    """Raise UsageError unless the text tower has blocks to whose matrices something can be added."""
    if not hasattr(getattr(text_of(model), "transformer", None), "resblocks"):
        raise UsageError(
            "the text tower of this model has no blocks of open_clip, to which `tune` lora adds",
            hint="Use `tune` text.",
        )


def tokens_of(tokenizer: Any, captions: Sequence[str]) -> torch.Tensor:
    """The tokens of captions at full context: int32 of shape (n, context)."""
    parts = [tokenizer(list(captions[start : start + _AT_ONCE])).int() for start in range(0, len(captions), _AT_ONCE)]
    return torch.cat(parts)


def _width(tokens: torch.Tensor) -> int:
    """The columns up to the last that is not padding in all rows."""
    used = (tokens != 0).any(dim=0).nonzero()
    return int(used[-1]) + 1 if len(used) else 1


def set_bias(model: Any, loss: Loss, *, from_scratch: bool = False) -> None:
    """Give a model the bias that its loss needs, or take the one away that it does not."""
    scale = model.logit_scale
    if loss is Loss.CLIP:
        model.logit_bias = None
    elif from_scratch or getattr(model, _BIAS, None) is None:
        model.logit_bias = nn.Parameter(torch.full_like(scale, _FIRST_BIAS))
        with torch.no_grad():
            scale.fill_(math.log(_FIRST_SCALE))


def _restart(model: Any, config: dict[str, Any], tokens: torch.Tensor, seed: int) -> None:
    """Give the text tower and the temperature the weights that open_clip begins with."""
    with seeded(seed), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}), encoding="utf-8")
        fresh = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    weights = {
        name: value for name, value in fresh.state_dict().items() if not name.startswith(("visual.", "text_decoder."))
    }
    model.load_state_dict(weights, strict=False)
    forget_unused(model, tokens)


def forget_unused(model: Any, tokens: torch.Tensor) -> None:
    """Zero the embeddings of words that do not occur: they carry no information, and stay as they are."""
    embedding = getattr(text_of(model), "token_embedding", None)
    if isinstance(embedding, nn.Embedding):
        unused = torch.ones(embedding.num_embeddings, dtype=torch.bool)
        unused[torch.unique(tokens).long()] = False
        with torch.no_grad():
            embedding.weight[unused.to(embedding.weight.device)] = 0


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from a seed, without effect on those of the caller."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
