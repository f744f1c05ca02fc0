"""Whether a device that ``auto`` never chooses is there, and computes as the CPU does.

It is tried in a process of its own, ``python -m zsretrieve.encoders.device_trial DEVICE``, since a driver may crash or
hang, on one batch of the bundled model.
"""

from __future__ import annotations

import functools
import json
import sys

from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.settings import INTEL, Compute, Engine, Precision
from zsretrieve.system import extras
from zsretrieve.system.trial import Trial, leave_no_core_dump

LEAST_COSINE = 0.999

_TRIED = ("mps", *INTEL)
_LIMIT_S = 300.0
_MODEL = "demo"


@functools.cache
def check(device: str) -> None:
    """Try a device of Intel or Apple, once in a process; others pass.

    Raises
    ------
    DeviceError
        If there is no such device, or its vectors are not those of the CPU.
    """
    if device not in _TRIED:
        return
    try:
        with Trial([sys.executable, "-P", "-m", __name__, device], _LIMIT_S) as trial:
            written, failure = trial.outcome()
    except OSError as error:
        written, failure = "", f"could not be started: {error.strerror or error}"
    if failure is not None:
        raise DeviceError(f"the device '{device}' cannot be used: its test {failure}", hint="Use `device` cpu.")
    absent, cosine = json.loads(written.splitlines()[-1])
    if absent is not None:
        raise DeviceError(f"there is no device '{device}': {absent}", hint="Use `device` cpu or auto.")
    if not cosine >= LEAST_COSINE:
        raise DeviceError(
            f"the device '{device}' computes wrong vectors: their cosine similarity to the CPU's is {cosine:.4f}",
            hint="Update its driver, or use `device` cpu.",
        )


def absence(device: str) -> str | None:
    """Why there is no such device here; None if there is one. Imports torch or OpenVINO."""
    if device in INTEL:
        from zsretrieve.encoders.openvino.encoder import DEVICES
        from zsretrieve.encoders.openvino.runtime import openvino

        seen = openvino.Core().available_devices
        # Several of a kind are numbered.
        kinds = {one.partition(".")[0] for one in seen}
        return None if DEVICES[device] in kinds else f"OpenVINO sees {', '.join(seen)}"
    if not extras.has_models():
        return "the extra models is not installed"
    import torch

    return None if torch.backends.mps.is_available() else "torch sees no Apple GPU"


def least_cosine(device: str) -> float:
    """The least cosine similarity of vectors of the bundled model on a device to those of the CPU, in one batch.

    Raises DeviceError if the device cannot run it.
    """
    import numpy as np

    from zsretrieve.encoders.running import load_encoder

    engine = Engine.OPENVINO if device in INTEL else Engine.TORCH
    exact = load_encoder(_MODEL, Compute("cpu", Precision.FP32, engine))
    tried = load_encoder(_MODEL, Compute(device, engine=engine))
    shape = (tried.batch_size, *exact.space.preprocessing.size, 3)
    images = list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    return float((exact.encode_prepared(images) * tried.encode_prepared(images)).sum(axis=1).min())


def _try(device: str) -> None:
    """Write why there is no such device, or how near its vectors are to the CPU's. Exits with a reason if it fails."""
    try:
        absent = absence(device)
        outcome = (absent, None if absent else least_cosine(device))
    except Exception as error:  # noqa: BLE001  (of a driver's own kind)
        sys.exit(" ".join(str(error).split())[:300])
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    leave_no_core_dump()
    _try(sys.argv[1])
