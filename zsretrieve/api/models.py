"""Models, and what is known of them before they are loaded."""

from __future__ import annotations

from zsretrieve import wiring
from zsretrieve.errors import SpaceMismatchError
from zsretrieve.ports import Encoder, MakeEncoder
from zsretrieve.records import Space


def load_encoder(
    model: str = wiring.DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> Encoder:
    """Load a model.

    Parameters
    ----------
    model : str
        ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``local-dir:PATH``, ``ARCH/CHECKPOINT`` or ``demo``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32`` or ``bf16``.
    batch_size : int, optional
        Pictures a batch.

    Raises
    ------
    ModelNameError
        If there is no such model.
    WeightsUnavailableError
        If its weights cannot be had.
    DeviceError
        If the device or precision is not there.
    """
    return wiring.load_encoder(model, device=device, precision=precision, batch_size=batch_size)


def check_model(model: str, space: Space) -> None:
    """Raise SpaceMismatchError, before anything is loaded or fetched, if the model's name alone rules it out."""
    identity = wiring.identity_by_name(model)
    if identity is not None and identity != space.weights:
        raise SpaceMismatchError(
            f"the index is of the space of '{space.model}', not of '{model}'",
            hint=f"Leave out --model, or build the index again with --model {model}",
        )


def remembering(
    space: Space, load: MakeEncoder, *, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> Encoder:
    """An encoder for searches that keeps the vectors of texts in the user's cache folder.

    Parameters
    ----------
    space : Space
        That of the gallery to search.
    load : callable
        Gives the encoder itself, by ``load_encoder`` with these same arguments; called when a text is not there.
    device, precision, engine : str
    """
    return wiring.remembering(space, load, device=device, precision=precision, engine=engine)
