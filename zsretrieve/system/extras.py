"""Extras of this package: whether they are installed, and the refusal of what needs them."""

from __future__ import annotations

import importlib.util

from zsretrieve.domain.errors import OptionalDependencyError
from zsretrieve.system import hardware, install_hints

# What the extra ``models`` brings; open_clip alone cannot load every model.
_MODELS = ("torch", "open_clip", "timm", "transformers")
# What open_clip's trainer imports besides.
_TRAINING = ("braceexpand", "pandas", "webdataset")


def has_models() -> bool:
    """Whether the extra ``models`` is installed, found without importing it."""
    return all(map(_is_installed, _MODELS))


def has_faiss() -> bool:
    """Whether FAISS is installed, found without importing it."""
    return _is_installed("faiss")


def require_models(what: str) -> None:
    """Raise OptionalDependencyError, which names what is refused, unless the extra ``models`` is installed."""
    if not has_models():
        raise OptionalDependencyError(f"{what} needs PyTorch and open_clip", hint=how_to_add("models"))


def require_faiss(what: str) -> None:
    """Raise OptionalDependencyError, which names what is refused, unless FAISS is installed."""
    if not has_faiss():
        extra = "gpu" if hardware.may_have_gpu() else "cpu"
        raise OptionalDependencyError(f"{what} needs FAISS", hint=f"Install it: {how_to_add(extra)}")


def require_mcp() -> None:
    """Raise OptionalDependencyError unless the extra ``mcp`` is installed."""
    if not _is_installed("mcp"):
        raise OptionalDependencyError("zsretrieve mcp needs the package mcp", hint=f"Install it: {how_to_add('mcp')}")


def require_coco() -> None:
    """Raise OptionalDependencyError unless the extra ``coco`` is installed."""
    if not _is_installed("faster_coco_eval"):
        raise OptionalDependencyError(
            "average precision needs the package faster-coco-eval", hint=f"Install it: {how_to_add('coco')}"
        )


def require_training() -> None:
    """Raise OptionalDependencyError unless the extra ``training`` is installed."""
    if not has_models() or not all(map(_is_installed, _TRAINING)):
        raise OptionalDependencyError(
            "training on images needs torch, braceexpand, webdataset and pandas",
            hint=f"Install them: {how_to_add('training')}",
        )


def require_ray(what: str) -> None:
    """Raise OptionalDependencyError, which names what is refused, unless the extra ``cluster`` is installed."""
    if not _is_installed("ray"):
        raise OptionalDependencyError(f"{what} needs Ray", hint=f"Install it: {how_to_add('cluster')}")


def how_to_add(*extras: str) -> str:
    """The command that adds extras to this installation."""
    return install_hints.install(f"zsretrieve[{','.join(extras)}]")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
