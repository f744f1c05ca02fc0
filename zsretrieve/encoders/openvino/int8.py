"""The image tower in int8: post-training quantisation by NNCF, with SmoothQuant."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve.domain.errors import ConversionError, OptionalDependencyError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.settings import Compute, Precision
from zsretrieve.encoders.openvino import int8_cache
from zsretrieve.encoders.openvino.encoder import OpenVinoEncoder
from zsretrieve.encoders.openvino.int8_cache import Int8Tower
from zsretrieve.encoders.openvino.model_cache import IMAGE, ConvertedModel
from zsretrieve.encoders.openvino.runtime import openvino
from zsretrieve.system import install_hints

LEAST_COSINE = 0.98
_ATTENTION = frozenset({"Softmax", "ScaledDotProductAttention"})


def check_installed() -> None:
    """Raise OptionalDependencyError unless NNCF can be imported."""
    _nncf()


def calibrate(
    model: ConvertedModel,
    images: Sequence[Pixels],
    others: Sequence[Pixels],
    *,
    force: bool = False,
    again: bool = True,
) -> Int8Tower:
    """Make the int8 image tower of a converted model, measure it against fp32, and store it with the model.

    Parameters
    ----------
    model : ConvertedModel
    images, others : sequence of uint8 of shape (height, width, 3)
        To calibrate on and to measure on.
    force : bool
        Store it even if its mean cosine similarity to fp32 is below ``LEAST_COSINE``.
    again : bool
        Calibrate even if there is a calibration by now; otherwise return that one.

    Raises
    ------
    OptionalDependencyError
        If NNCF is not installed.
    ConversionError
        If the model cannot be quantised, loses too much accuracy, or returns NaN.
    CacheError
        If the cache folder cannot be written.
    """

    def make(folder: Path) -> Int8Tower:
        _quantise(model.folder / IMAGE, images, folder)
        unmeasured = Int8Tower(folder, "", math.nan, math.nan, len(images), len(others))
        exact = OpenVinoEncoder(model, Compute(precision=Precision.FP32)).encode_prepared(others)
        quantised = OpenVinoEncoder(model, Compute(precision=Precision.INT8), int8_tower=unmeasured)
        small = quantised.encode_prepared(others)
        cosines = np.einsum("nd,nd->n", exact.astype(np.float64), small.astype(np.float64))
        mean, least = float(cosines.mean()), float(cosines.min())
        if not math.isfinite(mean):
            raise ConversionError(f"'{model.name}' returns NaN in int8", hint="Use `precision` bf16 or fp32.")
        if mean < LEAST_COSINE and not force:
            raise ConversionError(
                f"int8 loses too much of '{model.name}': the mean cosine similarity of its vectors to those of fp32 is "
                f"{mean:.4f}, below {LEAST_COSINE}",
                hint="Use `precision` bf16, calibrate on other images, or accept it: "
                f"zsretrieve models export {model.name} --int8 FOLDER --force",
            )
        return replace(unmeasured, mean_cosine=mean, least_cosine=least)

    return int8_cache.store(model, make, again=again)


def _quantise(tower: Path, images: Sequence[Pixels], out: Path) -> None:
    """Quantise activations to 8 bits by their ranges on the images, after SmoothQuant (Xiao et al., 2023, eq. 4) has
    moved their outliers into the weights, with NNCF's default strength.
    """
    nncf = _nncf()
    graph = openvino.Core().read_model(str(tower))
    attends = any(node.get_type_name() in _ATTENTION for node in graph.get_ops())
    try:
        # NNCF draws progress bars on stdout.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantised = nncf.quantize(
                graph,
                nncf.Dataset([np.asarray(one)[None] for one in images]),
                model_type=nncf.ModelType.TRANSFORMER if attends else None,
                subset_size=len(images),
            )
        openvino.save_model(quantised, str(out / IMAGE), compress_to_fp16=False)
    except Exception as error:  # NNCF's errors share no base class
        raise ConversionError(
            f"the model cannot be quantised: {' '.join(str(error).split())[:200]}", hint="Use `precision` bf16."
        ) from error


def _nncf() -> Any:
    # It imports parts of torch that warn about missing CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ImportError as error:
        raise OptionalDependencyError(
            f"int8 needs NNCF, which cannot be imported: {error}", hint=f"Run: {install_hints.install('nncf>=3.0')}"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
