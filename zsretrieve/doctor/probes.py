"""What runs in a process of its own: ``python -m zsretrieve.doctor.probes torch|faiss``.

Facts are written as they are found, one JSON object a line, so that those before a crash are not lost. A step that
raises writes its reason as ``<step>_error``; the last ``step`` written is where a crash or a hang was.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from zsretrieve.doctor.finding import reason

# The search that is tried: which of these rows is nearest to the one of this number.
ROWS, DIM, ASKED = 100, 32, 42
# The sum that is tried on torch's GPU: this many ones.
ONES = 1000


def torch() -> None:
    with _step("torch"):
        import torch

        _tell(torch=torch.__version__, cuda=torch.version.cuda, hub_folder=torch.hub.get_dir())
        _tell(cpu_kernels=torch.backends.cpu.get_cpu_capability())
    with _step("torchvision"):
        import torchvision  # type: ignore[import-untyped,unused-ignore]

        _tell(torchvision=torchvision.__version__)
    count = 0
    with _step("gpu"):
        import torch

        # torch tells in a warning why it does not see a GPU, e.g. of a driver that is too old.
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        _tell(gpus=[torch.cuda.get_device_name(number) for number in range(count)])
        _tell(gpu_said=[" ".join(str(warning.message).split())[:300] for warning in said])
    with _step("engine"):
        from zsretrieve import wiring

        _tell(engine=asdict(wiring.automatic_encoding()))
    if count:
        with _step("gpu_sum"):
            _tell(gpu_sum=float(torch.ones(ONES, device="cuda").sum().item()))


def faiss() -> None:
    with _step("faiss"):
        import faiss

        _tell(faiss=faiss.__version__, options=faiss.get_compile_options().split())
        _tell(kernels=faiss.SIMDConfig.get_level_name())
    with _step("cpu_search"):
        _tell(cpu_search=_search(None))
    count = 0
    with _step("gpu"):
        import faiss

        count = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        _tell(gpus=count)
    with _step("index_device"):
        from zsretrieve import wiring

        _tell(index_device=wiring.automatic_index_device())
    if count:
        with _step("gpu_search"):
            _tell(gpu_search=_search(0))


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
        # Another program may have filled the GPU; by default FAISS would claim more than a gigabyte of it.
        resources.noTempMemory()
        index = faiss.index_cpu_to_gpu(resources, gpu, index)
    scores, rows = index.search(vectors[ASKED : ASKED + 1], 1)
    return [int(rows[0, 0]), round(float(scores[0, 0]), 4)]


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    _tell(step=name)
    try:
        yield
    except Exception as error:  # noqa: BLE001  (the next step may still have something to tell)
        _tell(**{f"{name}_error": reason(error)})


def _tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _without_core_dump() -> None:
    """A crash that was looked for should leave no file behind."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


if __name__ == "__main__":
    _without_core_dump()
    {"torch": torch, "faiss": faiss}[sys.argv[1]]()
