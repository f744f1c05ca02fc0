"""The picture tower in int8: post-training quantisation by NNCF, with SmoothQuant."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsretrieve.encoders.converted import IMAGE
from zsretrieve.encoders.openvino_runtime import openvino
from zsretrieve.errors import ConversionError, OptionalDependencyError
from zsretrieve.ports import Pixels

_ATTENTION = frozenset({"Softmax", "ScaledDotProductAttention"})


def check_installed() -> None:
    """Raise OptionalDependencyError unless NNCF can be imported."""
    _nncf()


def quantise(tower: Path, pictures: Sequence[Pixels], out: Path) -> None:
    """Write a converted picture tower, calibrated on pictures, into the folder ``out``.

    Activations are given 8 bits by the ranges they take on the pictures. SmoothQuant (Xiao et al., 2023, eq. 4) first
    moves their outliers into the weights; NNCF's default strength is kept.

    Parameters
    ----------
    tower : path
        The converted tower, ``image.xml``.
    pictures : sequence of uint8 of shape (height, width, 3)
    out : path
        A folder that is there.

    Raises
    ------
    OptionalDependencyError
        If NNCF is not installed.
    ConversionError
        If NNCF cannot quantise it.
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


def _nncf():  # type: ignore[no-untyped-def]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ImportError as error:
        raise OptionalDependencyError(
            f"int8 needs NNCF, which cannot be imported: {error}", hint="Run: pip install 'zsretrieve[int8]'"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
