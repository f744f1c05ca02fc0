"""Estimating what running a published table takes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zsretrieve.domain.plain import Result
from zsretrieve.domain.records import Encoding, PromptSet
from zsretrieve.domain.settings import Engine
from zsretrieve.encoders.baseline import is_supervised
from zsretrieve.encoding.prefetch import processors
from zsretrieve.reproduction.tables import Table, TableModel

# ImageNet's 1,000 names in 80 templates fill 9.6 of CLIP's 77 tokens on average, and text towers are given no more;
# one that is not causal always gets the whole context.
_FILLED = 9.6 / 77
# Images per second that one processor decodes and resizes: measured on ImageNet's at 224 pixels.
_PREPARED_PER_CPU = 300.0
# A model comes close to the speed of one large matrix product (ViT-B/32 in torch, fp32, two cores: 0.99), but the rest
# takes time too.
_OF_A_PRODUCT = 0.8
_BYTES = 4
# A gallery keeps each vector twice: as a row of its segment and in the index.
_COPIES = 2


@dataclass(frozen=True)
class PlannedModel(Result):
    """What one model takes; None where it is unknown. ``seconds`` is a rough estimate."""

    name: str
    title: str
    cached: bool | None
    download_bytes: int | None
    disk_bytes: int | None
    seconds: float | None

    _keys: ClassVar[Mapping[str, str]] = {"name": "model"}


@dataclass(frozen=True)
class Plan:
    """What a table takes.

    ``encoding`` is how the models would run, and ``gflops`` the measured speed of one matrix product, in 10^9
    operations per second.
    """

    table: Table
    models: tuple[PlannedModel, ...]
    n_images: int
    n_prompts: int
    gflops: float
    encoding: Encoding

    @property
    def download_bytes(self) -> int:
        """Of the models for which it is known."""
        return sum(model.download_bytes or 0 for model in self.models)

    @property
    def disk_bytes(self) -> int:
        """Of the models for which it is known."""
        return sum(model.disk_bytes or 0 for model in self.models)

    @property
    def seconds(self) -> float:
        """Of the models for which it is known."""
        return sum(model.seconds or 0.0 for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """The plan as ``--format json`` prints it; a sum with an unknown part is None."""
        models = [model.to_dict() for model in self.models]
        sums = {
            name: None if any(model[name] is None for model in models) else getattr(self, name)
            for name in ("download_bytes", "disk_bytes", "seconds")
        }
        return {
            "table": self.table.name,
            "n_images": self.n_images,
            "n_prompts": self.n_prompts,
            "gflops": self.gflops,
            "engine": self.encoding.engine,
            "precision": self.encoding.precision,
            "device": self.encoding.device,
            "models": models,
            **sums,
        }


def plan(
    table: Table,
    n_images: int,
    prompts: Mapping[str, PromptSet],
    *,
    is_cached: Callable[[str], bool | None],
    encoding: Encoding,
    gflops: float,
) -> Plan:
    """Estimate what a table takes; nothing is downloaded or encoded.

    Parameters
    ----------
    table : Table
    n_images : int
    prompts : mapping of str to PromptSet
    is_cached : callable
        Whether the weights of a model are on this machine; None if that is unknown.
    encoding : Encoding
        How the models would run.
    gflops : float
        The speed of one large matrix product, in 10^9 operations per second.
    """
    n_prompts = sum(len({text for group in one.prompts for text in group}) for one in prompts.values())

    def planned(model: TableModel) -> PlannedModel:
        cached, cost = is_cached(model.name), model.cost
        if cost is None:
            return PlannedModel(model.name, model.title, cached, 0 if cached else None, None, None)
        supervised = is_supervised(model.name)
        weights = round(cost.mparams * 1e6) * _BYTES
        download = 0 if cached else weights
        converted = weights if encoding.engine == Engine.OPENVINO and not supervised else 0
        vectors = n_images * cost.dim * _BYTES * _COPIES
        texts = 0.0 if supervised else n_prompts * cost.text_gflops * (1.0 if cost.whole_context else _FILLED)
        computing = (n_images * cost.image_gflops + texts) / (gflops * _OF_A_PRODUCT)
        reading = n_images / (_PREPARED_PER_CPU * processors())
        disk = download + converted + vectors
        return PlannedModel(model.name, model.title, cached, download, disk, max(computing, reading))

    return Plan(table, tuple(planned(model) for model in table.models), n_images, n_prompts, gflops, encoding)
