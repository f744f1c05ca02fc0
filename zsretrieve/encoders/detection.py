"""Detectors by name, loaded when they are first needed. They run in torch."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

from zsretrieve.domain.arguments import check
from zsretrieve.domain.detector import Detector
from zsretrieve.domain.errors import DeviceError, OptionalDependencyError
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.settings import INTEL, Compute, Engine, Precision
from zsretrieve.encoders.catalog.detectors import DEFAULT_DETECTOR, DetectorName, parse_detector_name
from zsretrieve.encoders.catalog.fingerprint import config_bytes
from zsretrieve.system import extras, hardware


class DetectionModel:
    """A detector and how it runs; cheap to make, and loaded when it is first needed.

    Parameters
    ----------
    name : str, optional
        OWL-ViT or OWLv2: ``org/repo`` or ``hf-hub:org/repo`` on the hub, or ``local-dir:PATH`` in transformers' layout.
    compute : Compute
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all) while the model is loaded.

    Raises
    ------
    DeviceError
        If it cannot run as ``compute`` says.
    """

    def __init__(
        self, name: str | None = None, compute: Compute | None = None, *, on_stage: OnStage | None = None
    ) -> None:
        check("name", name, str | None, "Give the name of a model.")
        check("compute", compute, Compute | None, "Write zsretrieve.Compute(device='cpu').")
        self.name = name or DEFAULT_DETECTOR
        self.compute = compute or Compute()
        self._on_stage = on_stage
        self._lock = threading.Lock()
        self._parsed: DetectorName | None = None
        self._detector: Detector | None = None
        for option, given in {
            "`engine` openvino": self.compute.engine is Engine.OPENVINO,
            f"`device` {self.compute.device}": self.compute.device in INTEL,
            f"`precision` {self.compute.precision}": self.compute.precision in (Precision.INT8, Precision.FP16),
            "`compile`": self.compute.compile,
        }.items():
            if given:
                raise DeviceError(f"detectors run in torch, not with {option}", hint=f"Leave {option} out.")

    def __repr__(self) -> str:
        return f"DetectionModel({self.name!r}, {self.compute!r})"

    def open(self) -> DetectorName:
        """What the name means, before any work and any import of a model library.

        Raises
        ------
        ModelNameError, WeightsUnavailableError
            See ``parse_detector_name``.
        OptionalDependencyError
            If the extra ``models`` is not installed.
        """
        if self._parsed is None:
            self._parsed = parse_detector_name(self.name)
            extras.require_models("detection")
        return self._parsed

    def settings(self) -> str | None:
        """All that decides what it computes, to cache that; None if the weights cannot be identified yet."""
        identity = self.open().identity
        gpu = "with" if hardware.torch_may_have_gpu() else "without"
        prepared = hashlib.sha256(config_bytes(self.open().name) or b"").hexdigest()[:16]
        how = f"{prepared}, {self.compute.precision}, {self.compute.device} on {hardware.cpu_name()} {gpu} a GPU"
        return None if identity is None else f"{identity}, {how}"

    def load(self) -> Detector:
        """The detector, loaded on the first call, on the first of several GPUs.

        Raises
        ------
        WeightsUnavailableError, DeviceError
            If its files, or the device, are not available.
        OptionalDependencyError
            If a package that it needs cannot be imported.
        """
        parsed = self.open()
        with self._lock:
            if self._detector is None:
                with one_step(self._on_stage, f"loading {self.name}"):
                    self._detector = _loaded(parsed, self.compute)
        return self._detector


def _loaded(name: DetectorName, compute: Compute) -> Detector:
    from zsretrieve.encoders import device_trial

    device_trial.check(compute.device)
    try:
        from zsretrieve.encoders.torch.encoder import torch_devices
        from zsretrieve.encoders.torch.owl import OwlDetector
    except ImportError as error:
        raise OptionalDependencyError(
            f"the model engine cannot be imported: {error}", hint="For a fix, run: zsretrieve doctor"
        ) from error
    return OwlDetector(name, replace(compute, device=torch_devices(compute.device)[0]))
