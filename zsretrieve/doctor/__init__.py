"""What this machine can do, what is wrong with it, and commands that fix it."""

from __future__ import annotations

from functools import partial

from zsretrieve.doctor.finding import Diagnosis, Finding, Status, guarded
from zsretrieve.system.version import tool_version

__all__ = ["Diagnosis", "Finding", "Status", "examine"]


def examine(*, offline: bool = False) -> Diagnosis:
    """Check packages, engines, GPUs, the machine, caches and the hub.

    Nothing is raised: a check that fails becomes a finding of status ``unknown``, and the others go on.

    Parameters
    ----------
    offline : bool
        Do not try the network.
    """
    from zsretrieve.doctor import engines, machine, outcomes, packages, surroundings

    with outcomes.started() as wait:
        # The probes run meanwhile.
        software = [
            *guarded("Python", packages.python),
            *guarded("zsretrieve", packages.program),
            *guarded("packages", packages.required),
            *guarded("extra models", packages.models),
            *guarded("FAISS distribution", packages.faiss),
        ]
        around = [
            *guarded("CPU", machine.processor),
            *guarded("memory", machine.memory),
            *guarded("Hugging Face hub", partial(surroundings.hub, offline=offline)),
            *guarded("Pillow", surroundings.codecs),
            *guarded("console script", packages.console_script),
        ]
        probed = wait()
    engine = [
        *guarded("torch", partial(engines.torch, probed)),
        *guarded("torchvision", partial(engines.torchvision, probed)),
        *guarded("FAISS", partial(engines.faiss, probed)),
        *guarded("NVIDIA driver", partial(engines.driver, probed)),
        *guarded("GPU of torch", partial(engines.torch_gpu, probed)),
        *guarded("GPU of FAISS", partial(engines.faiss_gpu, probed)),
        *guarded("other devices", partial(engines.other_devices, probed)),
        *guarded("engine", partial(engines.automatic, probed)),
    ]
    caches = guarded("caches", partial(surroundings.caches, probed.torch.facts.get("hub_folder")))
    return Diagnosis(tool_version(), (*software, *engine, *around, *caches))
