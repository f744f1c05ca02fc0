"""Contrastive losses of a batch of pairs, in which equal captions do not count as mistakes of each other, and how
both ways of training minimise them.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from zsretrieve.domain.model_training import Loss

# The share of all steps in which the learning rate rises, and the norm that gradients are clipped to.
WARM_UP, MOST_NORM = 0.05, 1.0
# Of AdamW (Radford et al. 2021, table 18, for vision transformers).
BETAS, EPSILON = (0.9, 0.98), 1e-6


def clip_loss(
    images: torch.Tensor, texts: torch.Tensor, same: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The symmetric cross-entropy of Radford et al. 2021, section 2.3; without equal captions that of open_clip's
    ``ClipLoss``.

    Images whose captions are equal share the target of each of them evenly.

    Parameters
    ----------
    images, texts : float32 of shape (n, dim), unit rows
        Row i of both is a pair.
    same : bool of shape (n, n)
        Where captions are equal, the diagonal included.
    scale : float32 of one element
        The inverse temperature.
    bias : optional
        Has no effect on a softmax.

    Returns
    -------
    torch.Tensor
        float32 of shape ().
    """
    del bias
    target = same.to(images.dtype)
    target = target / target.sum(dim=1, keepdim=True)
    logits = scale * images @ texts.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def siglip_loss(
    images: torch.Tensor, texts: torch.Tensor, same: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The sigmoid loss of Zhai et al. 2023 (arXiv 2303.15343), algorithm 1; without equal captions that of open_clip's
    ``SigLipLoss``. Images and captions that are equal to theirs are positive pairs, all others negative ones.

    Parameters: see ``clip_loss``; ``bias`` is added to the logits.
    """
    logits = scale * images @ texts.T
    if bias is not None:
        logits = logits + bias
    sign = 2 * same.to(images.dtype) - 1
    return -F.logsigmoid(sign * logits).sum() / len(images)


LOSSES = {Loss.CLIP: clip_loss, Loss.SIGLIP: siglip_loss}
