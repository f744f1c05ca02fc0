"""The image tower of an open_clip model in torch: uint8 images to unit vectors, on the CPU, CUDA and Apple's GPUs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Preprocessing
from zsretrieve.domain.settings import Precision
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.encoders.torch.autocast import numerics
from zsretrieve.encoders.torch.patches import patch_features


class ImageTower:
    """The image tower of a model.

    In bf16 the weights themselves become bf16 where the tower tolerates it, which saves the casts of autocast. On CUDA
    each calling thread has its own stream and pinned memory, so that the copies of one batch overlap with the work on
    another.

    Parameters
    ----------
    model : open_clip model
        On ``device``; its image tower may be converted to bf16.
    preprocessing : Preprocessing
    device : torch.device
    precision : Precision
        ``fp32`` or ``bf16``.
    compiled_batch : int, optional
        Run the model through ``torch.compile``, for batches of this size. The first one then takes a minute.
    """

    def __init__(
        self,
        model: Any,
        preprocessing: Preprocessing,
        device: torch.device,
        precision: Precision,
        *,
        compiled_batch: int | None = None,
    ) -> None:
        pure = precision is Precision.BF16 and _tolerates_bf16(model.visual)
        if pure:
            model.visual.to(torch.bfloat16)
        if device.type == "cuda":
            model.visual.to(memory_format=torch.channels_last)
        self._encode = torch.compile(model.encode_image, dynamic=False) if compiled_batch else model.encode_image
        self._visual = model.visual
        # A compiled model takes batches of one size, to which the last one is padded.
        self._fill_to = compiled_batch or 0
        self._dtype = torch.bfloat16 if pure else torch.float32
        self._device = device
        self._precision = None if pure else precision
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
            for values in (preprocessing.mean, preprocessing.std)
        )
        self._own = threading.local()
        if device.type == "cuda":
            # The threads' streams do not wait for the one that prepared all this.
            torch.cuda.synchronize(device)

    def __call__(self, batch: Sequence[Pixels]) -> Vectors:
        """Unit vectors, float32 of shape (n, dim), of prepared images: uint8 of shape (height, width, 3) each.

        Raises
        ------
        DeviceError
            If the device has too little memory.
        """
        return unit_rows(self._computed(batch, self._vectors))

    def patches(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """Unit vectors of patches, float32 of shape (n, rows, columns, dim), of a tower that ``has_patches``.

        Raises DeviceError as a call does.
        """
        features = self._computed(
            batch, lambda images: patch_features(self._visual, self._normalised(images).to(self._dtype)).float()
        )
        return unit_rows(features.reshape(-1, features.shape[-1])).reshape(features.shape)

    def _computed(
        self, batch: Sequence[Pixels], compute: Callable[[torch.Tensor], torch.Tensor]
    ) -> NDArray[np.float32]:
        """What is computed on the device from images, uint8 of shape (n, height, width, 3)."""
        computed: NDArray[np.float32]
        with numerics(self._device, self._precision):
            if self._device.type != "cuda":
                computed = compute(torch.from_numpy(np.stack(batch)).to(self._device)).cpu().numpy()
                return computed
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream()):
                # Stacked into pinned memory, which returns to torch's pool when the stream is done with it.
                pinned = torch.empty((len(batch), *batch[0].shape), dtype=torch.uint8, pin_memory=True)
                np.stack(batch, out=pinned.numpy())
                computed = compute(pinned.to(self._device, non_blocking=True)).cpu().numpy()
                return computed

    def _vectors(self, images: torch.Tensor) -> torch.Tensor:
        n = len(images)
        if n < self._fill_to:
            images = torch.cat([images, images.new_zeros((self._fill_to - n, *images.shape[1:]))])
        vectors: torch.Tensor = self._encode(self._normalised(images).to(self._dtype))[:n]
        return vectors.float()

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        """As torchvision's ToTensor and Normalize: uint8 (n, height, width, 3) to float32 (n, 3, height, width)."""
        channels_first = images.permute(0, 3, 1, 2)
        if self._device.type != "cuda":
            channels_first = channels_first.contiguous()
        return channels_first.float().div_(255).sub_(self._mean).div_(self._std)

    def _stream(self) -> torch.cuda.Stream:
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._own.stream
        return stream


def _tolerates_bf16(visual: Any) -> bool:
    """Whether all weights and buffers may be bf16; tables of rotary embeddings lose too much precision."""
    return not any("rope" in name.lower() or "rotary" in name.lower() for name, _ in visual.named_modules())
