"""With this folder on PYTHONPATH, Python is without the packages that a plain install lacks.

It imports this module at its start. Neither an import nor the metadata finds them, as if they had never been installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import Distribution

MODULES = {"faiss", "open_clip", "timm", "torch", "torchvision", "transformers"}
DISTRIBUTIONS = {"faiss-cpu", "faiss-gpu", "open-clip-torch", "timm", "torch", "torchvision", "transformers"}


class Plain(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in MODULES else super().find_spec(fullname, path, target)

    @staticmethod
    def find_distributions(*context: Any) -> Iterator[Distribution]:
        for found in PathFinder.find_distributions(*context):
            if str(found.metadata["Name"]).lower().replace("_", "-") not in DISTRIBUTIONS:
                yield found


sys.meta_path[sys.meta_path.index(PathFinder)] = Plain
