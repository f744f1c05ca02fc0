"""Detectors by name: OWL-ViT and OWLv2 in transformers' layout, recognised before a model library is imported."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any

from zsretrieve.domain.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.encoders.catalog.files import hub_config
from zsretrieve.encoders.catalog.fingerprint import config_bytes, weights_identity
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.catalog.layouts import is_transformers
from zsretrieve.encoders.catalog.model_name import DEMO, HUB, LOCAL, ModelName, NameForm, full_name, parse_model_name
from zsretrieve.encoders.catalog.tables import architecture

DEFAULT_DETECTOR = "google/owlv2-base-patch16-ensemble"
# By transformers' ``model_type``: whether images are padded to a square, at the right or the bottom, or else squashed.
_PADS = {"owlvit": False, "owlv2": True}

_USE = f"Use OWL-ViT or OWLv2: {DEFAULT_DETECTOR}, hf-hub:org/repo or local-dir:PATH."
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class DetectorName:
    """A detector: its name, its ``family`` as transformers calls it, and whether that ``pads`` images."""

    name: ModelName
    family: str

    @property
    def pads(self) -> bool:
        return _PADS[self.family]

    @property
    def identity(self) -> str | None:
        """What identifies the weights; None for a model of the hub that is not in its cache."""
        identity = weights_identity(self.name)
        return None if self.name.form is NameForm.HUB and "@" not in identity else identity


def parse_detector_name(name: str) -> DetectorName:
    """Find out what a name means; only the configuration of a model is read, fetched from the hub if need be.

    Parameters
    ----------
    name : str
        ``org/repo``, ``hf-hub:org/repo`` or ``local-dir:PATH``.

    Raises
    ------
    ModelNameError
        If the name cannot be read, or the model is not a detector of a known family.
    WeightsUnavailableError
        If the configuration is not valid, or neither cached nor available for download.
    """
    name = full_name(name)
    is_repository = _REPOSITORY.fullmatch(name) is not None and not architecture(name.partition("/")[0])
    if is_repository:
        name = f"{HUB}{name}"
    if name == DEMO or not name.startswith((LOCAL, HUB)):
        raise ModelNameError(f"'{name}' is not a detector", hint=_USE)
    parsed = parse_model_name(name)
    family = _configuration(parsed).get("model_type")
    if family not in _PADS or (parsed.form is NameForm.LOCAL and not is_transformers(parsed)):
        what = f": its type is {family}" if family else ""
        raise ModelNameError(f"'{parsed.written}' is not a detector{what}", hint=_USE)
    return DetectorName(parsed, str(family))


def unavailable(name: ModelName, reason: str) -> WeightsUnavailableError:
    """The error for a detector that cannot be loaded."""
    hint = (
        "Check that the folder holds a whole model of transformers."
        if name.form is NameForm.LOCAL
        else "Check the name, the network and HF_HUB_OFFLINE, or use a model on disk: local-dir:PATH."
    )
    return WeightsUnavailableError(f"could not load the detector '{name.written}': {reason}", hint=hint)


def _configuration(name: ModelName) -> dict[str, Any]:
    """The configuration of a model as transformers reads it; empty if it has none."""
    offline: str | None = None
    try:
        if name.form is NameForm.LOCAL:
            content = json.loads(config_bytes(name) or b"{}")
        else:
            with offline_if_unreachable() as offline:
                content = hub_config(name.rest)
    except (OSError, ValueError) as error:
        raise unavailable(name, why_missing(error, offline)) from error
    with contextlib.suppress(KeyError):
        return dict(content["model_cfg"])
    return {}
