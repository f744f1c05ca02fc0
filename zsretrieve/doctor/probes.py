"""What runs in a process of its own: ``python -m zsretrieve.doctor.probes torch|faiss|openvino``.

Facts are written at once, one JSON object a line, so that a crash does not lose the earlier ones. A step that raises
writes its reason as ``<step>_error``; after a crash or a hang, the last ``step`` is where it happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from zsretrieve.doctor.finding import reason
from zsretrieve.domain.settings import INTEL
from zsretrieve.system.trial import leave_no_core_dump

# The test search: of these rows, QUERY_ROW is nearest to itself.
ROWS, DIM, QUERY_ROW = 100, 32, 42
# The test sum on torch's GPU has this many ones.
ONES = 1000


def torch() -> None:
    with _step("torch"):
        import torch

        _report(torch=torch.__version__, cuda=torch.version.cuda, hip=torch.version.hip, hub_folder=torch.hub.get_dir())
        _report(cpu_kernels=torch.backends.cpu.get_cpu_capability())
    with _step("torchvision"):
        import torchvision  # type: ignore[import-untyped,unused-ignore]

        _report(torchvision=torchvision.__version__)
    count = 0
    with _step("gpu"):
        import torch

        # torch warns why it does not see a GPU, e.g. of a driver that is too old.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        _report(gpus=[torch.cuda.get_device_name(number) for number in range(count)])
        _report(gpu_warnings=[" ".join(str(warning.message).split())[:300] for warning in caught])
    with _step("engine"):
        from zsretrieve.encoders import choosing

        _report(engine=asdict(choosing.automatic_encoding()))
    if count:
        with _step("gpu_sum"):
            _report(gpu_sum=float(torch.ones(ONES, device="cuda").sum().item()))
    _try("mps")


def faiss() -> None:
    with _step("faiss"):
        import faiss

        _report(faiss=faiss.__version__, options=faiss.get_compile_options().split())
        _report(kernels=faiss.SIMDConfig.get_level_name())
    with _step("cpu_search"):
        _report(cpu_search=_search(None))
    count = 0
    with _step("gpu"):
        from zsretrieve.backends import faiss_gpu

        count = faiss_gpu.count()
        _report(gpus=count)
    with _step("index_device"):
        from zsretrieve.backends import loading

        _report(index_device=loading.automatic_index_device())
    if count:
        with _step("gpu_search"):
            _report(gpu_search=_search(0))


def openvino() -> None:
    for device in INTEL:
        _try(device)


def _try(device: str) -> None:
    """Report why there is no such device, or how near its vectors are to the CPU's."""
    with _step(device):
        from zsretrieve.encoders import device_trial

        absent = device_trial.absence(device)
        _report(**{f"{device}_absent": absent})
        if absent is None:
            _report(**{device: device_trial.least_cosine(device)})


def _search(gpu: int | None) -> list[float]:
    """Row and score of the nearest to one query."""
    import faiss
    import numpy as np

    vectors = np.random.default_rng(7).standard_normal((ROWS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index: Any = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    if gpu is not None:
        resources = faiss.StandardGpuResources()
        # By default FAISS claims more than a gigabyte of the GPU, which another program may have filled.
        resources.noTempMemory()
        index = faiss.index_cpu_to_gpu(resources, gpu, index)
    scores, rows = index.search(vectors[QUERY_ROW : QUERY_ROW + 1], 1)
    return [int(rows[0, 0]), round(float(scores[0, 0]), 4)]


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    _report(step=name)
    try:
        yield
    except Exception as error:  # noqa: BLE001  (the next step may still work)
        _report(**{f"{name}_error": reason(error)})


def _report(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    leave_no_core_dump()
    os.environ["HF_HUB_OFFLINE"] = "1"
    {"torch": torch, "faiss": faiss, "openvino": openvino}[sys.argv[1]]()
