"""Published figures of popular models: size, cost, zero-shot accuracy and licence, each with its source.

The figures are in ``published.csv``, their sources and meaning in ``published.toml``; no model library is needed to
read them.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.encoders.catalog.model_name import SHORT_NAMES
from zsretrieve.metrics import pareto

if TYPE_CHECKING:
    from zsretrieve.encoders.catalog.registry import ModelInfo

_FIGURES = Path(__file__).with_suffix(".csv")
_SOURCES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Source:
    """Where a figure comes from. ``url`` is empty for what this project counted."""

    key: str
    title: str
    url: str

    def __str__(self) -> str:
        return f"{self.title}, {self.url}" if self.url else self.title


@dataclass(frozen=True)
class PublishedModel:
    """What is published about one pretrained model; None where it is unknown.

    Attributes
    ----------
    name, arch, tag : str
        ``ARCH/TAG`` and its parts.
    image_size : tuple of int
        Height and width in pixels.
    dim : int
        Of its vectors.
    params : float
        Millions of parameters in the whole model.
    gflop : float
        Billions of floating-point operations of the image tower for one image; a multiplication and its addition count
        as two.
    cost_source : Source
        Of ``params`` and ``gflop``.
    prec1 : float
        ImageNet-1k zero-shot Prec@1, a fraction.
    prec1_source : Source
    license, license_source : str
        Of the weights, and the URL that states it.
    multilingual : bool
        Whether its authors say that it was trained on captions in many languages.
    on_front : bool
        Whether it is on the Pareto front: every other model of the table needs more operations, is less accurate or is
        equal in both. Accuracies are compared to a tenth of a point, the precision of some of them.
    info : ModelInfo
        What open_clip's registry says, if it was asked.
    """

    name: str
    arch: str
    tag: str
    image_size: tuple[int, int]
    dim: int
    params: float | None = None
    gflop: float | None = None
    cost_source: Source | None = None
    prec1: float | None = None
    prec1_source: Source | None = None
    license: str | None = None
    license_source: str | None = None
    multilingual: bool = False
    on_front: bool = False
    info: ModelInfo | None = None

    @property
    def short_name(self) -> str | None:
        """``small``, ``medium`` or ``best``."""
        return next((short for short, name in SHORT_NAMES.items() if name == self.name), None)

    @property
    def disk_gb(self) -> float | None:
        """Gigabytes of the weights at four bytes per parameter, as most are published."""
        return None if self.params is None else round(self.params * 4 / 1000, 2)

    def facts(self) -> dict[str, object]:
        """What is published, for machine formats: units in the names, sources spelled out."""
        return {
            "front": self.on_front,
            "imagenet_prec@1": self.prec1,
            "imagenet_prec@1_source": str(self.prec1_source) if self.prec1_source else None,
            "image_gflop": self.gflop,
            "params_millions": self.params,
            "short_name": self.short_name,
            "disk_gb": self.disk_gb,
            "cost_source": str(self.cost_source) if self.cost_source else None,
            "license": self.license,
            "license_source": self.license_source,
            "multilingual": self.multilingual,
        }


# Sort keys, least first.
_ORDERS: dict[str, Callable[[PublishedModel], float | None]] = {
    "top1": lambda model: None if model.prec1 is None else -model.prec1,
    "gflop": lambda model: model.gflop,
    "params": lambda model: model.params,
    "size": lambda model: float(model.image_size[0] * model.image_size[1]),
}


@cache
def published_models() -> tuple[PublishedModel, ...]:
    """All models of the table, by family."""
    sources = {source.key: source for source in read_sources()}
    weights = tomllib.loads(_SOURCES.read_text(encoding="utf-8"))["weights"]
    with open(_FIGURES, newline="", encoding="utf-8") as handle:
        models = [_model(row, sources, weights[row["weights"]]) for row in csv.DictReader(handle)]
    # Some sources only give tenths of a point.
    tenths = [None if model.prec1 is None else round(model.prec1, 3) for model in models]
    on_front = pareto.pareto_front([model.gflop for model in models], tenths)
    return tuple(replace(model, on_front=best) for model, best in zip(models, on_front, strict=True))


def read_sources() -> list[Source]:
    """The sources of the figures."""
    content = tomllib.loads(_SOURCES.read_text(encoding="utf-8"))
    return [Source(key, entry["title"], entry.get("url", "")) for key, entry in content["sources"].items()]


def published_model(arch: str, tag: str) -> PublishedModel | None:
    """What is published about one model; None if it is not in the table."""
    wanted = f"{arch.removesuffix('-quickgelu')}/{tag}".lower()
    return next((model for model in published_models() if model.name.lower() == wanted), None)


def with_figures(info: ModelInfo) -> PublishedModel:
    """A model of open_clip's registry with its published figures, if there are any."""
    plain = PublishedModel(info.name, info.arch, info.tag, info.image_size, info.dim)
    return replace(published_model(info.arch, info.tag) or plain, info=info)


def ordered(models: Iterable[PublishedModel], by: str) -> list[PublishedModel]:
    """Models by ``name``, ``top1`` (best first), ``gflop``, ``params`` or image ``size`` (least first).

    Unknown values come last; equal ones keep their order.
    """
    if by == "name":
        return sorted(models, key=lambda model: model.name.lower())
    figure = _ORDERS[by]

    def place(model: PublishedModel) -> tuple[bool, float]:
        value = figure(model)
        return value is None, value or 0.0

    return sorted(models, key=place)


def _model(row: dict[str, str], sources: dict[str, Source], weights: dict[str, object]) -> PublishedModel:
    arch, _, tag = row["name"].partition("/")
    size = int(row["image_size"])
    return PublishedModel(
        name=row["name"],
        arch=arch,
        tag=tag,
        image_size=(size, size),
        dim=int(row["dim"]),
        params=float(row["params"]) if row["params"] else None,
        gflop=float(row["gflop"]) if row["gflop"] else None,
        cost_source=sources[row["cost"]] if row["cost"] else None,
        prec1=float(row["top1"]) if row["top1"] else None,
        prec1_source=sources[row["from"]] if row["from"] else None,
        license=str(weights["license"]) if "license" in weights else None,
        license_source=str(weights["source"]) if "source" in weights else None,
        multilingual=bool(weights.get("multilingual", False)),
    )
