"""The files that only prototypes have: their prompts, and which images they were made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.records import Manifest, PromptSet
from zsretrieve.domain.wording import one_line
from zsretrieve.store import manifest as manifests

PROMPTS = "prompts.json"
DRAWN = "drawn.npy"
Digests = NDArray[np.uint8]


def write_prompts(path: Path, prompts: PromptSet) -> None:
    """Write the prompts of a prototype index."""
    content = {
        "class_names": prompts.class_names,
        "class_keys": prompts.class_keys,
        "templates": prompts.templates,
        "prompts": prompts.prompts,
        "classes_source": prompts.classes_source,
        "templates_source": prompts.templates_source,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_prompts(path: Path) -> PromptSet:
    """The prompts of a prototype index. Raises IntegrityError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return PromptSet(
            tuple(content["class_names"]),
            tuple(content["class_keys"]),
            tuple(tuple(group) for group in content["prompts"]),
            tuple(content["templates"]),
            content["classes_source"],
            content["templates_source"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"'{path}' is damaged: {one_line(error)}", hint=manifests.REBUILD) from error


def read_drawn(where: Path, manifest: Manifest) -> Digests | None:
    """The digests of the images that prototypes were made from. Raises IntegrityError."""
    if manifest.training is None:
        return None
    try:
        drawn = np.load(where / DRAWN, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IntegrityError(f"'{where / DRAWN}' is damaged: {one_line(error)}", hint=manifests.REBUILD) from error
    if drawn.dtype != np.uint8 or drawn.ndim != 2 or drawn.shape[1] != 32:
        raise IntegrityError(f"'{where / DRAWN}' is damaged: it does not hold digests", hint=manifests.REBUILD)
    digests: Digests = drawn
    return digests
