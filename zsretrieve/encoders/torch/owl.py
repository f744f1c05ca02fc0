"""The Detector port over transformers' OWL-ViT and OWLv2.

Minderer et al. 2022, Simple Open-Vocabulary Object Detection with Vision Transformers; Minderer et al. 2023, Scaling
Open-Vocabulary Object Detection. Every patch of the image predicts one box and one vector, which is compared with those
of the classes. Images are prepared, and boxes, vectors and scores computed, by transformers' own modules.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from zsretrieve.domain.arguments import check_texts
from zsretrieve.domain.boxes import Box, ious
from zsretrieve.domain.errors import ImageError, QueryError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Preprocessing, Space, TextContext
from zsretrieve.domain.settings import Compute, Precision
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.encoders.catalog.detectors import DetectorName, unavailable
from zsretrieve.encoders.catalog.fingerprint import weights_identity
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.torch.autocast import numerics
from zsretrieve.encoders.torch.encoder import planned_encoding
from zsretrieve.encoders.torch.loading import code_of_models
from zsretrieve.images.decoding import default_max_pixels

_TEXT_ROWS = 256
# Transformers prepares images in float32, in several copies; those of more pixels are prepared one at a time.
_LARGE_PIXELS = 8_000_000
_COPIES = 3
_one_large = threading.Lock()


class OwlDetector:
    """OWL-ViT or OWLv2 behind the Detector port.

    Parameters
    ----------
    name : DetectorName
    compute : Compute
        One device, in ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, else fp32. Only the image tower computes in bf16,
        since a box in bf16 is wrong by up to a 250th of the image. By default, batches hold 16 images on CUDA, else 4.

    Raises
    ------
    WeightsUnavailableError
        If its files are neither here nor available for download, or do not belong together.
    DeviceError
        If the device or precision is not available.
    """

    def __init__(self, name: DetectorName, compute: Compute) -> None:
        self.encoding = self.text_encoding = planned_encoding(compute)
        self._device = torch.device(self.encoding.device)
        self._precision = Precision(self.encoding.precision)
        self._model, processor = _load(name)
        self._model.to(self._device)
        self._images, self._tokenizer = processor.image_processor, processor.tokenizer
        self._pads = name.pads
        self.space = _space(name, self._model.config, self._images)
        self.batch_size = compute.batch_size or (16 if self._device.type == "cuda" else 4)
        self.concurrency = 1

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize and normalise as transformers does for the model: float32 of shape (3, height, width).

        Raises
        ------
        ImageError
            If padding it to a square would take too much memory.
        """
        pixels = max(image.size) ** 2 if self._pads else image.width * image.height
        if pixels * _COPIES > default_max_pixels():
            raise ImageError(f"too large to be prepared: {image.width} x {image.height} pixels")
        with _one_large if pixels > _LARGE_PIXELS else nullcontext():
            prepared: Pixels = self._images(image, return_tensors="pt").pixel_values[0].numpy()
        return prepared

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        check_texts(texts)
        parts = [self._encoded(list(texts[start : start + _TEXT_ROWS])) for start in range(0, len(texts), _TEXT_ROWS)]
        return np.concatenate([np.empty((0, self.space.dim), dtype=np.float32), *parts])

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._tokenizer(list(texts)).input_ids] if texts else []

    def encode_example(self, image: Image.Image, box: Box | None) -> tuple[Vectors, Box]:
        features, grid = self._features([self.prepare(image)])
        with self._exactly():
            corners = self._corners(features, grid)[0]
            if box is None:
                # Transformers' own choice: of OWL-ViT's boxes that fill most of the image the least usual one, and the
                # box of OWLv2 that most likely holds an object.
                vectors, places, _ = self._model.embed_image_query(features, grid)
                vector, place = vectors[0, 0], int(places[0, 0])
            else:
                overlaps = ious(np.array(box), corners)[0]
                place = int(overlaps.argmax())
                if overlaps[place] == 0:
                    raise QueryError(
                        "the model sees no object that overlaps the box of the example", hint="Give a larger box."
                    )
                vector = self._model.class_predictor(features)[1][0, place]
        left, top, right, bottom = corners[place].tolist()
        return unit_rows(vector.cpu().numpy()[None])[0], (left, top, right, bottom)

    def detect(self, batch: Sequence[Pixels], queries: Vectors) -> list[NDArray[np.float32]]:
        features, grid = self._features(batch)
        with self._exactly():
            classes = torch.from_numpy(queries).to(self._device).expand(len(batch), -1, -1)
            best = self._model.class_predictor(features, classes)[0].max(dim=-1)
            scores, class_ids = best.values.sigmoid().cpu().numpy(), best.indices.cpu().numpy()
            corners = self._corners(features, grid)
        return list(np.concatenate([class_ids[..., None], scores[..., None], corners], axis=2, dtype=np.float32))

    def _features(self, batch: Sequence[Pixels]) -> tuple[Any, Any]:
        """The features of all patches of prepared images, of shape (n, patches, width), and as rows and columns."""
        pixels = torch.from_numpy(np.stack(batch)).to(self._device)
        with numerics(self._device, self._precision):
            grid = self._model.image_embedder(pixels)[0].float()
        return grid.flatten(1, 2), grid

    def _corners(self, features: Any, grid: Any) -> NDArray[np.float32]:
        """The box of each patch, float32 of shape (n, patches, 4)."""
        boxes: NDArray[np.float32] = self._model.box_predictor(features, grid).cpu().numpy()
        centres, halves = boxes[..., :2], boxes[..., 2:] * np.float32(0.5)
        return np.concatenate([centres - halves, centres + halves], axis=2)

    def _encoded(self, texts: list[str]) -> Vectors:
        towers = self._model.base_model
        tokens = self._tokenizer(
            texts,
            padding="max_length",
            max_length=self.space.text.context_length,
            truncation=True,
            return_tensors="pt",
        ).to(self._device)
        with self._exactly():
            pooled = towers.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)[1]
            return unit_rows(towers.text_projection(pooled).cpu().numpy())

    def _exactly(self) -> Any:
        return numerics(self._device, Precision.FP32)


def _load(name: DetectorName) -> tuple[Any, Any]:
    """The model, float32 on the CPU and in evaluation mode, and its processor, without running code of its own."""
    parsed = name.name
    kind = {"owlvit": "OwlViT", "owlv2": "Owlv2"}[name.family]
    with offline_if_unreachable() if parsed.may_download else nullcontext() as offline, code_of_models(allowed=False):
        try:
            processor = getattr(transformers, f"{kind}Processor").from_pretrained(parsed.rest)
            model = getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(parsed.rest, dtype=torch.float32)
        except Exception as error:  # hub, safetensors, torch and transformers each raise their own
            raise unavailable(parsed, why_missing(error, offline)) from error
    return model.eval(), processor


def _space(name: DetectorName, config: Any, images: Any) -> Space:
    side = int(config.vision_config.image_size)
    return Space(
        model=name.name.in_manifest,
        weights=weights_identity(name.name),
        dim=int(config.projection_dim),
        activation=str(config.vision_config.hidden_act),
        preprocessing=Preprocessing(
            size=(side, side),
            mean=tuple(float(value) for value in images.image_mean),
            std=tuple(float(value) for value in images.image_std),
            interpolation="bilinear" if name.pads else "bicubic",
            resize_mode="longest" if name.pads else "squash",
        ),
        text=TextContext("CLIPTokenizer", int(config.text_config.max_position_embeddings)),
    )
