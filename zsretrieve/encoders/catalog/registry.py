"""open_clip's registry: architectures, pretrained tags, and the activation each tag was trained with."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from zsretrieve.domain.errors import ModelNameError
from zsretrieve.encoders.catalog.tables import SCALING, all_tags, architecture, architectures, tag_record, tags


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
    archs = architectures()
    if arch not in archs:
        raise ModelNameError(
            f"there is no model '{written}': no architecture '{arch}'", hint=_nearest(arch, tag, archs)
        )
    if tag is not None and not tag_record(arch, tag):
        known_tags = tags(arch)
        close = difflib.get_close_matches(tag.lower(), known_tags, n=3)
        known = f"'{arch}' has {', '.join(known_tags)}." if known_tags else f"'{arch}' has no pretrained tags."
        if close:
            known = f"Did you mean {' or '.join(f'{arch}/{name}' for name in close)}?"
        raise ModelNameError(f"there is no model '{written}': '{arch}' has no tag '{tag}'", hint=known)


def tag_activation(arch: str, tag: str) -> str:
    """``quick_gelu`` or ``gelu``, as the weights of the tag were trained.

    The tag's record says so, except where all tags of an architecture share the activation of its configuration.
    """
    by_tag = tag_record(arch, tag).get("quick_gelu", False)
    by_architecture = architecture(arch).get("quick_gelu", False)
    return "quick_gelu" if by_tag or by_architecture else "gelu"


@dataclass(frozen=True)
class Common:
    """What all pretrained tags of an architecture agree on; where they differ, the architecture's defaults."""

    activation: str
    preprocessing: dict[str, Any]


def common_to_tags(arch: str) -> Common:
    """How to treat a bare checkpoint of an architecture, which has no preprocessing or activation of its own."""
    plain = arch.removesuffix("-quickgelu")
    configs = [tag_record(plain, tag) for tag in tags(plain)]
    quick = architecture(arch).get("quick_gelu", False)
    preprocessing = {}
    if configs:
        quick = quick or all(config.get("quick_gelu", False) for config in configs)
        for key in SCALING:
            first = configs[0].get(key)
            if first is not None and all(config.get(key) == first for config in configs):
                preprocessing[key] = first
    return Common("quick_gelu" if quick else "gelu", preprocessing)


def known_models(search: str = "") -> list[ModelInfo]:
    """All pretrained models whose names contain every word of ``search``, in open_clip's order."""
    words = search.lower().split()
    return [
        _info(arch, tag)
        for arch, tag in all_tags()
        # Those are the same weights as under the plain name, which resolves to the same activation.
        if not arch.endswith("-quickgelu") and all(word in f"{arch}/{tag}".lower() for word in words)
    ]


def model_info(arch: str, tag: str) -> ModelInfo:
    """One model. Raises ModelNameError if there is none."""
    check_tag(arch, tag, f"{arch}/{tag}")
    return _info(arch, tag)


def _info(arch: str, tag: str) -> ModelInfo:
    config: dict[str, Any] = architecture(arch)
    weights: dict[str, Any] = tag_record(arch, tag)
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
        cached=is_cached(weights),
    )


def is_cached(weights: dict[str, Any]) -> bool:
    """Whether the weights that a tag's record names are in the hub's cache."""
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
        of_name = tags(name)
        names.append(f"{name}/{tag if tag in of_name else of_name[0]}" if of_name else name)
    if not names:
        return "`zsretrieve models list --all` lists all names."
    return f"Did you mean {' or '.join(names)}? `zsretrieve models list --all` lists all names."
