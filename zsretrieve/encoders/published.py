"""What is published of the models people use: their size, cost, zero-shot accuracy and licence, each with its source.

The figures stand in ``published.csv``, and what they refer to in ``published.toml``, which also says what they mean. No
model library is needed to read them.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from zsretrieve.metrics.front import front

_FIGURES = Path(__file__).with_suffix(".csv")
_SOURCES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Source:
    """Where a figure comes from. ``url`` is empty for what was counted by this project."""

    key: str
    title: str
    url: str

    def __str__(self) -> str:
        return f"{self.title}, {self.url}" if self.url else self.title


@dataclass(frozen=True)
class PublishedModel:
    """What is published of one pretrained model; None where nothing is known.

    Attributes
    ----------
    name, arch, tag : str
        ``ARCH/TAG`` and its parts.
    image_size : tuple of int
        Height and width in pixels.
    dim : int
        Of its vectors.
    params : float
        Millions of parameters, all of the model.
    gflop : float
        Billions of floating point operations of the picture tower for one picture; a multiplication with its addition
        counts two.
    cost_source : Source
        Of ``params`` and ``gflop``.
    prec1 : float
        ImageNet-1k zero-shot Prec@1, a share.
    prec1_source : Source
    license, license_source : str
        Of the weights, and the address where it is said.
    multilingual : bool
        Whether its authors say that it learned from captions of many languages.
    front : bool
        Whether every other model of the table needs more operations or is less accurate, or is equal in both; accuracy
        is compared by tenths of a point, as coarsely as some of it is published.
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
    front: bool = False

    def facts(self) -> dict[str, object]:
        """What is published, as programs read it: units in the names, sources written out."""
        return {
            "front": self.front,
            "imagenet_prec@1": self.prec1,
            "imagenet_prec@1_source": str(self.prec1_source) if self.prec1_source else None,
            "image_gflop": self.gflop,
            "params_millions": self.params,
            "cost_source": str(self.cost_source) if self.cost_source else None,
            "license": self.license,
            "license_source": self.license_source,
            "multilingual": self.multilingual,
        }


# What the models may be sorted by, the least first.
_ORDERS: dict[str, Callable[[PublishedModel], float | None]] = {
    "top1": lambda model: None if model.prec1 is None else -model.prec1,
    "gflop": lambda model: model.gflop,
    "params": lambda model: model.params,
    "size": lambda model: float(model.image_size[0] * model.image_size[1]),
}


@cache
def published_models() -> tuple[PublishedModel, ...]:
    """All models of the table, in its order: by family."""
    sources = {source.key: source for source in read_sources()}
    weights = tomllib.loads(_SOURCES.read_text(encoding="utf-8"))["weights"]
    with open(_FIGURES, newline="", encoding="utf-8") as handle:
        models = [_model(row, sources, weights[row["weights"]]) for row in csv.DictReader(handle)]
    # Some sources give tenths of a point, so no more than these can be compared.
    tenths = [None if model.prec1 is None else round(model.prec1, 3) for model in models]
    best = front([model.gflop for model in models], tenths)
    return tuple(replace(model, front=on_it) for model, on_it in zip(models, best, strict=True))


def read_sources() -> list[Source]:
    """Where the figures come from."""
    content = tomllib.loads(_SOURCES.read_text(encoding="utf-8"))
    return [Source(key, entry["title"], entry.get("url", "")) for key, entry in content["sources"].items()]


def published_model(arch: str, tag: str) -> PublishedModel | None:
    """What is published of one model; None if it is not in the table."""
    wanted = f"{arch.removesuffix('-quickgelu')}/{tag}".lower()
    return next((model for model in published_models() if model.name.lower() == wanted), None)


def ordered(models: Iterable[PublishedModel], by: str) -> list[PublishedModel]:
    """Models by ``name``, or by ``top1`` (the best first), ``gflop``, ``params`` or image ``size`` (the least first).

    What is unknown comes last; equal ones keep the order they had.
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
