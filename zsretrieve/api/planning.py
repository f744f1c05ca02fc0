"""Plans for large indexes, before anything is encoded."""

from __future__ import annotations

import os
from typing import Annotated

from zsretrieve.api.indexes import read_manifest
from zsretrieve.api.models import describe_model
from zsretrieve.domain import plans
from zsretrieve.domain.arguments import Between
from zsretrieve.domain.errors import IndexFormatError, ModelNameError, UsageError
from zsretrieve.domain.plans import Plan, Wish
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.rates import USUAL, Rates
from zsretrieve.domain.records import IndexKind, PathLike
from zsretrieve.domain.settings import Compute
from zsretrieve.store.named import folder_of
from zsretrieve.system import extras

_SECONDS = 3.0
# Beyond, nobody has vectors, and there would be more lists than kinds can name.
Count = Annotated[int, Between(1, 10**13)]
Dimensions = Annotated[int, Between(1, 1 << 16)]
Memory = Annotated[int, Between(1, 10**18)]


def plan_index(
    vectors: Count | None = None,
    dim: Dimensions | None = None,
    *,
    gallery: PathLike | None = None,
    model: str | None = None,
    recall: Annotated[float, Between(0.01, 1)] = 0.95,
    memory: Memory | None = None,
    images_per_second: Annotated[float, Between(1e-3, 1e9)] | None = None,
    rates: Rates | None = None,
) -> Plan:
    """What each index kind would take for so many vectors: bytes, machines, time to make it, and latency.

    Parameters
    ----------
    vectors : int, optional
        How many; by default those of ``gallery``.
    dim : int, optional
        Their dimensions; by default those of ``gallery`` or ``model``.
    gallery : path, optional
        A gallery that is to grow, or to get another kind.
    model : str, optional
        A model whose vectors they will be.
    recall : float
        Wanted among the ten best for texts and for images.
    memory : int, optional
        Bytes of one machine; by default as much as it takes.
    images_per_second : float, optional
        How fast one machine encodes images: ``encoding_rate`` measures it.
    rates : Rates, optional
        How fast one machine makes and searches indexes: ``measure_rates`` measures it. By default those of two cores
        in docs/planning.md.

    Raises
    ------
    UsageError
        If the number of vectors or dimensions is not known, gallery, model and ``dim`` have different dimensions, the
        gallery is empty, or no kind fits.
    ModelNameError
        If there is no such model.
    IndexFormatError
        If there is no such gallery.
    """
    if gallery is not None:
        manifest = read_manifest(gallery)
        if manifest.kind is not IndexKind.GALLERY:
            raise IndexFormatError(
                f"'{os.fspath(gallery)}' is not a gallery", hint="Prototypes are always compared exactly."
            )
        if not (vectors or manifest.count):
            raise UsageError(
                f"the gallery '{os.fspath(gallery)}' is empty", hint="Give the number of `vectors` that it will have."
            )
        vectors = vectors or manifest.count
        dim = _agreed(dim, manifest.dim, f"the gallery '{os.fspath(gallery)}'")
    if model is not None:
        of_model = describe_model(model).get("dim")
        if isinstance(of_model, int):
            dim = _agreed(dim, of_model, f"the model '{model}'")
        elif dim is None:
            raise ModelNameError(f"the dimensions of '{model}' are not known", hint="Give the number of dimensions.")
    if not vectors or dim is None:
        raise UsageError(
            f"the number of {'dimensions' if vectors else 'vectors'} is missing",
            hint="Give vectors and dim, a gallery that has them, or a model that has dimensions.",
        )
    return plans.plan(Wish(vectors, dim, recall, memory, images_per_second), rates or USUAL)


def measure_rates(
    dim: Annotated[int, Between(8, 8192)], folder: PathLike = ".", *, on_stage: OnStage | None = None
) -> Rates:
    """Measure how fast this machine makes and searches indexes, in about a minute.

    Parameters
    ----------
    dim : int
        The dimensions of the vectors.
    folder : path
        On the disk that is to hold the vectors: a file of 512 MB, or of 65,536 vectors, is written there, read, and
        deleted.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OptionalDependencyError
        If FAISS is not installed.
    SourceError
        If the folder cannot be written.
    """
    extras.require_faiss("measuring this machine")
    from zsretrieve.backends import kind_rates

    return kind_rates.measure(dim, folder_of(folder), on_stage)


def encoding_rate(model: str, *, on_stage: OnStage | None = None) -> float:
    """Measure how many images per second a model encodes on this machine, without reading files.

    Raises as ``Model.load`` does.
    """
    from zsretrieve.encoders.loading import Model
    from zsretrieve.encoding.speed import images_per_second

    with one_step(on_stage, f"measuring {model}"):
        return images_per_second(Model(model, Compute()).load(), _SECONDS)


def _agreed(wanted: int | None, has: int, what: str) -> int:
    """The dimensions that something has. Raises UsageError if others are wanted."""
    if wanted not in (None, has):
        raise UsageError(
            f"{what} has vectors of {has:,} dimensions, and {wanted:,} are planned for",
            hint="Leave out what says otherwise: the dimensions, the gallery or the model.",
        )
    return has
