"""What this machine can do, what is wrong with it, and the commands that mend it."""

from __future__ import annotations

from functools import partial

from zsretrieve.doctor.finding import Diagnosis, Finding, Status, guarded
from zsretrieve.version import tool_version

__all__ = ["Diagnosis", "Finding", "Status", "examine"]


def examine(*, offline: bool = False) -> Diagnosis:
    """Look at packages, engines, GPUs, the machine and its surroundings.

    Nothing is raised: a check that fails becomes a finding of status ``unknown``, and the others go on.

    Parameters
    ----------
    offline : bool
        Do not try the network.
    """
    from zsretrieve.doctor import engines, machine, packages, running, surroundings

    with running.started() as probes:
        software = [
            *guarded("Python", packages.python),
            *guarded("zsretrieve", packages.program),
            *guarded("packages", packages.needed),
            *guarded("FAISS distribution", packages.faiss),
        ]
        hardware = [*guarded("CPU", machine.processor), *guarded("memory", machine.memory)]
        around = [
            *guarded("Hugging Face hub", partial(surroundings.hub, offline=offline)),
            *guarded("zsretrieve cache", surroundings.own_cache),
            *guarded("Hugging Face cache", surroundings.hub_cache),
            *guarded("open_clip cache", surroundings.open_clip_cache),
            *guarded("Pillow", surroundings.codecs),
            *guarded("console script", packages.console_script),
            *guarded("temporary folder", surroundings.temporary_folder),
        ]
        # The probes ran meanwhile.
        told = probes.told()
        engine = [
            *guarded("torch", partial(engines.torch, told)),
            *guarded("torchvision", partial(engines.torchvision, told)),
            *guarded("FAISS", partial(engines.faiss, told)),
            *guarded("NVIDIA driver", partial(engines.driver, told)),
            *guarded("GPU of torch", partial(engines.torch_gpu, told)),
            *guarded("GPU of FAISS", partial(engines.faiss_gpu, told)),
            *guarded("engine", partial(engines.automatic, told)),
        ]
        around += guarded("torch cache", partial(surroundings.torch_cache, told.torch.facts.get("hub_folder")))
    return Diagnosis(tool_version(), (*software, *engine, *hardware, *around))
