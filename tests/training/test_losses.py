"""The losses are open_clip's, except that equal captions are no mistakes of each other."""

from __future__ import annotations

import numpy as np
import open_clip.loss
import pytest
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

from zsretrieve.training.losses import clip_loss, siglip_loss


def batch(seed: int, n: int = 24, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    images, texts = F.normalize(torch.randn(2, n, dim), dim=-1).unbind()
    return images, texts.clone().requires_grad_()


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_open_clip(seed: int) -> None:
    images, texts = batch(seed)
    scale, bias = torch.tensor(3.0 + 10 * seed), torch.tensor(-float(seed))
    same = torch.eye(len(images), dtype=torch.bool)
    for ours, theirs in (
        (clip_loss(images, texts, same, scale), open_clip.loss.ClipLoss()(images, texts, scale)),
        (siglip_loss(images, texts, same, scale, bias), open_clip.loss.SigLipLoss()(images, texts, scale, bias)),
    ):
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
        gradients = [torch.autograd.grad(loss, texts)[0] for loss in (ours, theirs)]
        assert torch.allclose(*gradients, atol=1e-6)


def test_equal_captions_share_their_target_evenly() -> None:
    images, texts = batch(7)
    caption = np.arange(24) // 3
    same = caption[:, None] == caption[None, :]
    loss = clip_loss(images, texts, torch.from_numpy(same), torch.tensor(8.0)).item()
    logits = 8.0 * images.numpy().astype(np.float64) @ texts.detach().numpy().astype(np.float64).T
    share = same / 3
    expected = -((share * log_softmax(logits, axis=1)).sum(1) + (share * log_softmax(logits.T, axis=1)).sum(1)) / 2
    assert loss == pytest.approx(expected.mean(), rel=1e-5)


def test_equal_captions_are_positive_pairs_of_the_sigmoid() -> None:
    images, texts = batch(7)
    caption = np.arange(24) // 2
    sign = np.where(caption[:, None] == caption[None, :], 1.0, -1.0)
    loss = siglip_loss(images, texts, torch.from_numpy(sign > 0), torch.tensor(8.0), torch.tensor(-2.0)).item()
    logits = 8.0 * images.numpy().astype(np.float64) @ texts.detach().numpy().astype(np.float64).T - 2.0
    assert loss == pytest.approx(np.log1p(np.exp(-sign * logits)).sum() / 24, rel=1e-5)
