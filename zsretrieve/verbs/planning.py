"""What running a published table would take on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zsretrieve.records import PromptSet
from zsretrieve.verbs.ahead import processors
from zsretrieve.verbs.published import Table, TableModel
from zsretrieve.verbs.reproduce import is_supervised

# Of the 77 tokens of CLIP's context ImageNet's 1,000 names in 80 templates fill 9.6 in the mean, and the text towers
# are given no more; a tower that is not causal is always given the whole context.
_FILLED = 9.6 / 77
# Images a second that one processor decodes and resizes: measured for ImageNet's at 224 pixels.
_PREPARED_PER_CPU = 300.0
# A model comes close to the speed of one large matrix product (ViT-B/32 by torch in fp32 on two cores: 0.99); what is
# no product takes time too.
_OF_A_PRODUCT = 0.8
_BYTES = 4
# A gallery keeps each vector twice: as a row of its segment and in the index.
_COPIES = 2


@dataclass(frozen=True)
class PlannedModel:
    """What one model takes. What is not known of it is None; ``seconds`` are a rough guess."""

    name: str
    title: str
    cached: bool | None
    download_bytes: int | None
    disk_bytes: int | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a table takes. ``gflops`` is the measured speed of one matrix product, 10^9 operations a second."""

    table: Table
    models: tuple[PlannedModel, ...]
    n_images: int
    n_prompts: int
    gflops: float
    precision: str
    engine: str
    device: str

    @property
    def download_bytes(self) -> int:
        """Of the models of which it is known."""
        return sum(model.download_bytes or 0 for model in self.models)

    @property
    def disk_bytes(self) -> int:
        """Of the models of which it is known."""
        return sum(model.disk_bytes or 0 for model in self.models)

    @property
    def seconds(self) -> float:
        """Of the models of which it is known."""
        return sum(model.seconds or 0.0 for model in self.models)


def plan(
    table: Table,
    n_images: int,
    prompts: Mapping[str, PromptSet],
    *,
    is_cached: Callable[[str], bool | None],
    gflops: float,
    precision: str,
    engine: str,
    device: str,
) -> Plan:
    """Add up what a table takes; nothing is fetched or encoded.

    Parameters
    ----------
    table : Table
    n_images : int
    prompts : mapping of str to PromptSet
    is_cached : callable
        Whether the weights of a model lie on this machine; None where that cannot be told.
    gflops : float
        The speed of one large matrix product, 10^9 operations a second.
    precision, engine, device : str
        What the models would run with.
    """
    n_prompts = sum(len({text for group in one.prompts for text in group}) for one in prompts.values())
    converted = engine == "openvino"
    planned = tuple(
        _planned(model, n_images, n_prompts, is_cached(model.name), gflops, converted=converted)
        for model in table.models
    )
    return Plan(table, planned, n_images, n_prompts, gflops, precision, engine, device)


def _planned(
    model: TableModel, n_images: int, n_prompts: int, cached: bool | None, gflops: float, *, converted: bool
) -> PlannedModel:
    cost = model.cost
    if cost is None:
        return PlannedModel(model.name, model.title, cached, 0 if cached else None, None, None)
    weights = round(cost.mparams * 1e6) * _BYTES
    download = 0 if cached else weights
    copy = weights if converted and not is_supervised(model.name) else 0
    texts = 0.0
    if not is_supervised(model.name):
        texts = n_prompts * cost.text_gflops * (1.0 if cost.whole_context else _FILLED)
    computing = (n_images * cost.image_gflops + texts) / (gflops * _OF_A_PRODUCT)
    reading = n_images / (_PREPARED_PER_CPU * processors())
    vectors = n_images * cost.dim * _BYTES * _COPIES
    return PlannedModel(model.name, model.title, cached, download, download + copy + vectors, max(computing, reading))
