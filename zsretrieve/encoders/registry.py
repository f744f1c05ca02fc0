"""What open_clip knows: architectures, pretrained tags, the activation each tag was trained with."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import open_clip

from zsretrieve.errors import ModelNameError


@dataclass(frozen=True)
class ModelInfo:
    """One pretrained model of open_clip's registry."""

    name: str
    arch: str
    tag: str
    image_size: tuple[int, int]
    dim: int
    context_length: int
    activation: str
    tokenizer: str
    hub: str
    cached: bool


def check_tag(arch: str, tag: str | None, written: str) -> None:
    """Raise ModelNameError, with the nearest names, unless the architecture and its tag exist."""
    archs = open_clip.list_models()
    if arch not in archs:
        raise ModelNameError(
            f"there is no model '{written}': no architecture '{arch}'", hint=_nearest(arch, tag, archs)
        )
    if tag is not None and not open_clip.pretrained.is_pretrained_cfg(arch, tag):
        tags = open_clip.list_pretrained_tags_by_model(arch)
        close = difflib.get_close_matches(tag.lower(), tags, n=3)
        known = f"'{arch}' has {', '.join(tags)}." if tags else f"'{arch}' has no pretrained tags."
        if close:
            known = f"Did you mean {' or '.join(f'{arch}/{name}' for name in close)}?"
        raise ModelNameError(f"there is no model '{written}': '{arch}' has no tag '{tag}'", hint=known)


def tag_activation(arch: str, tag: str) -> str:
    """``quick_gelu`` or ``gelu``, as the weights of the tag were trained.

    A tag says so itself, except where every tag of an architecture shares the activation of its configuration.
    """
    by_tag = open_clip.get_pretrained_cfg(arch, tag).get("quick_gelu", False)
    by_architecture = (open_clip.get_model_config(arch) or {}).get("quick_gelu", False)
    return "quick_gelu" if by_tag or by_architecture else "gelu"


@dataclass(frozen=True)
class Common:
    """What all pretrained tags of an architecture agree on; where they differ, the architecture's defaults."""

    activation: str
    preprocessing: dict[str, Any]


def common_to_tags(arch: str) -> Common:
    """How to treat a bare checkpoint of an architecture, which says nothing of its preprocessing or activation."""
    plain = arch.removesuffix("-quickgelu")
    configs = [open_clip.get_pretrained_cfg(plain, tag) for tag in open_clip.list_pretrained_tags_by_model(plain)]
    quick = (open_clip.get_model_config(arch) or {}).get("quick_gelu", False)
    preprocessing = {}
    if configs:
        quick = quick or all(config.get("quick_gelu", False) for config in configs)
        for key in ("mean", "std", "interpolation", "resize_mode"):
            first = configs[0].get(key)
            if first is not None and all(config.get(key) == first for config in configs):
                preprocessing[key] = first
    return Common("quick_gelu" if quick else "gelu", preprocessing)


def known_models(search: str = "") -> list[ModelInfo]:
    """All pretrained models whose name holds every word of ``search``, in open_clip's order."""
    words = search.lower().split()
    found = []
    for arch, tag in open_clip.list_pretrained():
        if arch.endswith("-quickgelu"):
            continue  # the same weights as under the plain name, which resolves to the same activation
        if all(word in f"{arch}/{tag}".lower() for word in words):
            found.append(_info(arch, tag))
    return found


def model_info(arch: str, tag: str) -> ModelInfo:
    """One model. Raises ModelNameError if there is none."""
    check_tag(arch, tag, f"{arch}/{tag}")
    return _info(arch, tag)


def _info(arch: str, tag: str) -> ModelInfo:
    config: dict[str, Any] = open_clip.get_model_config(arch) or {}
    weights: dict[str, Any] = open_clip.get_pretrained_cfg(arch, tag)
    size = weights.get("size") or config["vision_cfg"].get("image_size", 224)
    height, width = size if isinstance(size, tuple | list) else (size, size)
    text = config["text_cfg"]
    return ModelInfo(
        name=f"{arch}/{tag}",
        arch=arch,
        tag=tag,
        image_size=(int(height), int(width)),
        dim=int(config["embed_dim"]),
        context_length=int(text.get("context_length", 77)),
        activation=tag_activation(arch, tag),
        tokenizer=text.get("hf_tokenizer_name") or "CLIP BPE",
        hub=str(weights.get("hf_hub") or weights.get("url") or "").rstrip("/"),
        cached=_is_cached(weights),
    )


def _is_cached(weights: dict[str, Any]) -> bool:
    from huggingface_hub import try_to_load_from_cache

    hub = weights.get("hf_hub")
    if not hub:
        return False
    repository, _, file = hub.rpartition("/")
    names = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    if file.endswith((".bin", ".pth")):
        names.append(file[:-4] + ".safetensors")
    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)


def _nearest(arch: str, tag: str | None, archs: list[str]) -> str:
    by_lower = {name.lower(): name for name in archs}
    close = [by_lower[n] for n in difflib.get_close_matches(arch.lower(), list(by_lower), n=3, cutoff=0.4)]
    names = []
    for name in close:
        tags = open_clip.list_pretrained_tags_by_model(name)
        names.append(f"{name}/{tag if tag in tags else tags[0]}" if tags else name)
    if not names:
        return "`zsretrieve models list --all` shows all names."
    return f"Did you mean {' or '.join(names)}? `zsretrieve models list --all` shows all names."
