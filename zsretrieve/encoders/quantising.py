"""The picture tower in int8: post-training quantisation by NNCF, with SmoothQuant."""

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

from zsretrieve import mending
from zsretrieve.encoders import calibrated
from zsretrieve.encoders.calibrated import Quantised
from zsretrieve.encoders.converted import IMAGE, Converted
from zsretrieve.encoders.openvino_engine import OpenVinoEncoder
from zsretrieve.encoders.openvino_runtime import openvino
from zsretrieve.errors import ConversionError, OptionalDependencyError
from zsretrieve.ports import Pixels

LEAST_COSINE = 0.98
_ATTENTION = frozenset({"Softmax", "ScaledDotProductAttention"})


def check_installed() -> None:
    """Raise OptionalDependencyError unless NNCF can be imported."""
    _nncf()


def calibrate(
    model: Converted, pictures: Sequence[Pixels], others: Sequence[Pixels], *, force: bool = False, anew: bool = True
) -> Quantised:
    """Make the int8 picture tower of a converted model, measure it against fp32, and keep it with the model.

    Parameters
    ----------
    model : Converted
    pictures, others : sequence of uint8 of shape (height, width, 3)
        What it is calibrated on, and what it is measured on.
    force : bool
        Keep it although its mean cosine similarity to fp32 is below ``LEAST_COSINE``.
    anew : bool
        Calibrate although there is a calibration by now; otherwise that one is given.

    Raises
    ------
    OptionalDependencyError
        If NNCF is not installed.
    ConversionError
        If the model cannot be quantised, loses too much, or gives vectors that are no numbers.
    CacheError
        If the cache folder cannot be written.
    """

    def make(folder: Path) -> Quantised:
        _quantise(model.folder / IMAGE, pictures, folder)
        unmeasured = Quantised(folder, "", math.nan, math.nan, len(pictures), len(others))
        exact = OpenVinoEncoder(model, precision="fp32").encode_prepared(others)
        small = OpenVinoEncoder(model, precision="int8", quantised=unmeasured).encode_prepared(others)
        cosines = np.einsum("nd,nd->n", exact.astype(np.float64), small.astype(np.float64))
        mean, least = float(cosines.mean()), float(cosines.min())
        if not math.isfinite(mean):
            raise ConversionError(
                f"int8 gives '{model.name}' vectors that are no numbers", hint="Use --precision bf16 or fp32."
            )
        if not mean >= LEAST_COSINE and not force:
            raise ConversionError(
                f"int8 loses too much of '{model.name}': the mean cosine similarity of its vectors to those of fp32 is "
                f"{mean:.4f}, below {LEAST_COSINE}",
                hint="Use --precision bf16, calibrate on other images, or accept it: "
                f"zsretrieve models export {model.name} --int8 FOLDER --force",
            )
        return replace(unmeasured, mean_cosine=mean, least_cosine=least)

    return calibrated.keep(model, make, anew=anew)


def _quantise(tower: Path, pictures: Sequence[Pixels], out: Path) -> None:
    """Activations are given 8 bits by the ranges they take on the pictures. SmoothQuant (Xiao et al., 2023, eq. 4)
    first moves their outliers into the weights; NNCF's default strength is kept.
    """
    nncf = _nncf()
    graph = openvino.Core().read_model(str(tower))
    attends = any(node.get_type_name() in _ATTENTION for node in graph.get_ops())
    try:
        # It draws bars on stdout, where only results belong.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantised = nncf.quantize(
                graph,
                nncf.Dataset([np.asarray(one)[None] for one in pictures]),
                model_type=nncf.ModelType.TRANSFORMER if attends else None,
                subset_size=len(pictures),
            )
        openvino.save_model(quantised, str(out / IMAGE), compress_to_fp16=False)
    except Exception as error:  # its errors share no base
        raise ConversionError(
            f"the model cannot be quantised: {' '.join(str(error).split())[:200]}", hint="Use --precision bf16."
        ) from error


def _nncf() -> Any:
    # It imports parts of torch that remark on a CUDA which is not there.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ImportError as error:
        raise OptionalDependencyError(
            f"int8 needs NNCF, which cannot be imported: {error}", hint=f"Run: {mending.install('nncf>=3.0')}"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
