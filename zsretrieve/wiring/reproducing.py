"""Models for the published tables: the supervised baseline among them, and one of which parts can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsretrieve.encoders.naming import NameForm, parse_model_name
from zsretrieve.ports import Encoder
from zsretrieve.records import Encoding
from zsretrieve.verbs.reproduce import Settings, is_supervised
from zsretrieve.wiring.encoding import load_encoder, planned_encoding
from zsretrieve.wiring.models import describe_model, known_identity

if TYPE_CHECKING:
    from zsretrieve.encoders.changed import ChangedEncoder


class TableModels:
    """The models of a published table, loaded with the same settings. See ``zsretrieve.verbs.reproduce.Models``."""

    def __init__(self, settings: Settings, batch_size: int | None = None) -> None:
        self._settings = settings
        self._batch_size = batch_size

    def identity(self, name: str) -> str | None:
        if not is_supervised(name):
            return known_identity(name)
        from zsretrieve.encoders import supervised

        return supervised.IDENTITY

    def load(self, name: str) -> Encoder:
        asked = self._settings
        if not is_supervised(name):
            return load_encoder(
                name, device=asked.device, precision=asked.precision, engine=asked.engine, batch_size=self._batch_size
            )
        from zsretrieve.encoders.supervised import load_supervised

        return load_supervised(name, device=_one(asked.device), precision=asked.precision, batch_size=self._batch_size)


def check_table_model(name: str) -> None:
    """Raise ModelNameError if a model of a table has a name that cannot be read."""
    if is_supervised(name):
        from zsretrieve.encoders import supervised

        supervised.check_name(name)
    else:
        parse_model_name(name)


def is_cached(name: str) -> bool | None:
    """Whether the weights of a model lie on this machine; None if that cannot be told without fetching anything."""
    if is_supervised(name):
        from zsretrieve.encoders import supervised

        return supervised.is_cached(name)
    form = parse_model_name(name).form
    if form is NameForm.HUB:
        return True if known_identity(name) is not None else None
    return bool(describe_model(name)["cached"])


def measured_gflops(device: str, precision: str, engine: str) -> tuple[float, Encoding]:
    """The speed of one large matrix product here, in 10^9 operations a second, and what models would run with."""
    from zsretrieve.encoders import speed

    planned = planned_encoding(device, precision, engine)
    return speed.gflops(_one(planned.device), planned.precision), planned


def changeable_encoder(
    name: str, *, device: str = "auto", precision: str = "fp32", batch_size: int | None = None
) -> ChangedEncoder:
    """A model of which one thing at a time can be changed. Raises as ``load_encoder`` does."""
    from zsretrieve.encoders.changed import ChangedEncoder

    return ChangedEncoder(name, device=device, precision=precision, batch_size=batch_size)


def _one(device: str) -> str:
    """The first of several GPUs."""
    return "cuda" if device == "cuda:all" else device.split(",")[0]
