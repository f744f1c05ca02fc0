"""How fast the models in the cache are on this machine, and which of them are worth taking."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from zsretrieve.domain.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.domain.plain import Result
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.settings import Compute, Engine
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm, parse_model_name
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.speed import images_per_second
from zsretrieve.metrics.pareto import pareto_front

_SECONDS = 3.0


@dataclass(frozen=True)
class MeasuredModel(Result):
    """A model as it runs on this machine.

    Attributes
    ----------
    name : str
    images_per_second : float
        Of the image tower, without reading and decoding files.
    precision : str
        What it was measured in, on the CPU.
    prec1 : float
        Published ImageNet-1k zero-shot Prec@1, a fraction; None where it is unknown.
    on_front : bool
        Whether it is on the Pareto front: every other model measured is slower, less accurate or equal in both.
    """

    _keys: ClassVar[Mapping[str, str]] = {"prec1": "imagenet_prec@1", "on_front": "front"}

    name: str
    images_per_second: float
    precision: str
    prec1: float | None
    on_front: bool


def measure_models(search: str = "", *, on_stage: OnStage | None = None) -> list[MeasuredModel]:
    """Measure each converted model in the cache for a few seconds on the CPU; the fastest first.

    Parameters
    ----------
    search : str
        Words that a name must contain.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    DeviceError
        If OpenVINO cannot run one of them.
    """
    names = [name for name in _converted() if all(word in name.written.lower() for word in search.lower().split())]
    measured = []
    for done, name in enumerate(names):
        if on_stage is not None:
            on_stage("measuring models", done, len(names))
        encoder = Model(name.written, Compute("cpu", engine=Engine.OPENVINO)).load()
        rate = images_per_second(encoder, _SECONDS)
        measured.append((name.written, rate, str(encoder.encoding.precision), _prec1(name)))
    if on_stage is not None:
        on_stage("measuring models", len(names), len(names))
    return compared(measured)


def compared(measured: Sequence[tuple[str, float, str, float | None]]) -> list[MeasuredModel]:
    """Measured models, the fastest first, with those on the Pareto front of speed and accuracy marked.

    Parameters
    ----------
    measured : sequence of (name, images per second, precision, Prec@1 or None)
    """
    # Some sources only give tenths of a point.
    tenths = [None if prec1 is None else round(prec1, 3) for *_, prec1 in measured]
    on_front = pareto_front([1 / rate for _, rate, *_ in measured], tenths)
    models = [MeasuredModel(*one, is_best) for one, is_best in zip(measured, on_front, strict=True)]
    return sorted(models, key=lambda model: -model.images_per_second)


def _converted() -> list[ModelName]:
    """The models in the cache that run as they are, each once."""
    from zsretrieve.encoders.openvino import model_cache

    names = []
    for written in sorted({entry.name for entry in model_cache.entries()}):
        # The files of a model may be gone, or other versions of packages would convert it again.
        with contextlib.suppress(ModelNameError, WeightsUnavailableError):
            name = parse_model_name(written)
            found = model_cache.find(name)
            if found is not None and found.failure is None:
                names.append(name)
    return names


def _prec1(name: ModelName) -> float | None:
    from zsretrieve.encoders.catalog.published import published_model

    figures = published_model(str(name.arch), name.rest) if name.form is NameForm.TAG else None
    return None if figures is None else figures.prec1
