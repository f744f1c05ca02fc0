"""With this folder on PYTHONPATH, Python is without the packages that HIDDEN_PACKAGES lists.

It imports this module at its start. Neither an import nor the metadata finds them, as if they had never been installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import Distribution

HIDDEN = set(os.environ["HIDDEN_PACKAGES"].split(","))
# The modules of distributions of another name.
MODULES = {"faiss_cpu": "faiss", "faiss_gpu": "faiss", "open_clip_torch": "open_clip"}


class Finder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in HIDDEN else super().find_spec(fullname, path, target)

    @staticmethod
    def find_distributions(*context: Any) -> Iterator[Distribution]:
        for found in PathFinder.find_distributions(*context):
            name = str(found.metadata["Name"]).lower().replace("-", "_")
            if MODULES.get(name, name) not in HIDDEN:
                yield found


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
