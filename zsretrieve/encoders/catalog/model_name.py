"""Parsing model names."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from zsretrieve.domain.errors import ModelNameError

DEFAULT_MODEL = "ViT-B-32-256/datacomp_s34b_b86k"
# Short names, all of weights under a free licence.
SHORT_NAMES = {
    "small": DEFAULT_MODEL,
    "medium": "ViT-B-16-SigLIP2-256/webli",
    "best": "ViT-gopt-16-SigLIP2-256/webli",
}
# Names of OpenAI's own package that open_clip spells differently.
_OPENAI = {
    "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px",
}  # fmt: skip
DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent.parent.parent / "demo" / "model"
# The same model, converted by scripts/demo_pack.
DEMO_PACK = DEMO_FOLDER.with_name("demo.pack")

LOCAL, HUB = "local-dir:", "hf-hub:"
# The configurations of the two layouts that a model's folder or repository may have.
CONFIG, CONFIG_OF_TRANSFORMERS = "open_clip_config.json", "config.json"
PACK = "pack:"
_TIMM = "timm:"
_CLASSIFIERS = (_TIMM, "torchvision:")
RESNET50 = "torchvision:resnet50"
# Whose repositories tutorials name; hub_names.csv has open_clip's models of the same weights.
_HUB_ORGS = ("openai", "google", "laion")
_FORMS = (
    "Write small, medium, best, demo, ARCH/TAG, hf-hub:org/repo, pack:FILE, local-dir:PATH or ARCH/CHECKPOINT; "
    "`zsretrieve models list` shows them."
)


class NameForm(Enum):
    TAG = "tag"
    CHECKPOINT = "checkpoint"
    HUB = "hub"
    LOCAL = "local"
    PACK = "pack"
    CLASSIFIER = "classifier"


@dataclass(frozen=True)
class ModelName:
    """A parsed model name. ``rest`` is the tag, the checkpoint's path, the repository, the folder or the pack.

    ``written`` is a name for the same model in any working folder. With ``trusted``, code that comes with the model may
    run.
    """

    form: NameForm
    arch: str | None
    rest: str
    written: str
    trusted: bool = False

    @property
    def may_download(self) -> bool:
        """Whether any part of the model may come from the hub, such as a checkpoint's tokenizer."""
        return self.form not in (NameForm.LOCAL, NameForm.PACK)

    @property
    def pack(self) -> Path | None:
        """The pack that holds the model for the CPU engine; None for models that are converted here."""
        if self.form is NameForm.PACK:
            return Path(self.rest)
        return DEMO_PACK if self.written == DEMO else None

    @property
    def in_manifest(self) -> str:
        """How a manifest names the model."""
        return f"{self.arch}/{self.rest}" if self.form is NameForm.TAG else self.written

    @property
    def open_clip_name(self) -> str:
        """open_clip's name for the architecture or the location."""
        match self.form:
            case NameForm.LOCAL:
                return f"{LOCAL}{self.rest}"
            case NameForm.HUB:
                return f"{HUB}{self.rest}"
            case NameForm.CLASSIFIER | NameForm.PACK:
                return self.written
            case NameForm.TAG | NameForm.CHECKPOINT:
                return str(self.arch)


def full_name(name: str) -> str:
    """open_clip's name for a short name or one of OpenAI's, such as ``ViT-B/32``; any other name as it is."""
    name = name.strip()
    if name in _OPENAI:
        return f"{name.replace('/', '-').replace('@336px', '-336')}/openai"
    return SHORT_NAMES.get(name, name)


def parse_model_name(name: str) -> ModelName:
    """Parse a model name; only loading shows whether the model exists.

    Raises
    ------
    ModelNameError
        If the name has none of the known forms, or the folder or file does not exist.
    """
    name = same_weights(full_name(name))
    if name == DEMO:
        return _local(str(DEMO_FOLDER), DEMO)
    if name.startswith(LOCAL):
        return _local(name.removeprefix(LOCAL), name)
    if name.startswith(PACK):
        return _pack(name.removeprefix(PACK))
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        if repository.count("/") != 1 or not all(repository.split("/")):
            raise ModelNameError(f"'{name}' is not a repository", hint="Write hf-hub:org/repo.")
        return ModelName(NameForm.HUB, None, repository, name)
    if name.startswith(_CLASSIFIERS):
        return _classifier(name)
    # Names of architectures hold neither separator; the path of a checkpoint may hold both.
    if parts := re.fullmatch(r"([^,/]*[^,/\s])\s*[,/]\s*(.+)", name):
        arch, rest = parts.groups()
        if os.path.isfile(checkpoint := Path(rest).expanduser().absolute()):
            return ModelName(NameForm.CHECKPOINT, arch, str(checkpoint), f"{arch}/{checkpoint}")
        if "/" in rest or Path(rest).suffix in {".pt", ".pth", ".bin", ".safetensors", ".npz"}:
            raise ModelNameError(f"there is no checkpoint '{rest}'", hint=_FORMS)
        return ModelName(NameForm.TAG, arch, rest, name)
    # Names of architectures have capitals, digits or hyphens; a mistyped word is not asked for its tag.
    more = f"An architecture needs a tag: `zsretrieve models list {name} --all` shows them. " if "-" in name else ""
    import difflib  # only for this hint

    near = f"Did you mean {DEMO}? " if difflib.get_close_matches(name.lower(), [DEMO]) else ""
    raise ModelNameError(f"'{name}' is not a model name", hint=f"{near}{more}{_FORMS}")


def _classifier(name: str) -> ModelName:
    """A classifier whose features are vectors of images; its tag decides the weights, so it must be given."""
    library, _, rest = name.partition(":")
    if name != RESNET50 and (library == "torchvision" or not re.fullmatch(r"\w+\.\w+", rest)):
        raise ModelNameError(
            f"'{name}' is not a classifier", hint=f"Write timm:NAME.TAG, such as timm:resnet50.a1_in1k, or {RESNET50}."
        )
    return ModelName(NameForm.CLASSIFIER, None, rest, name)


def same_weights(name: str) -> str:
    """open_clip's name for the model of a Hugging Face repository of OpenAI, Google or LAION; other names as they are.

    Raises ModelNameError if open_clip has no model with the weights of such a repository.
    """
    org, _, rest = name.partition("/")
    if org.lower() not in _HUB_ORGS or not rest or Path(name).exists():
        return name
    known = _models_of_repositories().get(name.lower())
    if known is None and org.lower() == "laion":
        return f"{HUB}{name}"  # its repositories are open_clip's own
    if known is None:
        raise ModelNameError(f"open_clip has no model with the weights of '{name}'", hint=_FORMS)
    return known


@functools.cache
def _models_of_repositories() -> dict[str, str]:
    import csv  # only for these names

    with open(Path(__file__).with_name("hub_names.csv"), newline="", encoding="utf-8") as file:
        return {row["repository"].lower(): row["model"] for row in csv.DictReader(file)}


def _local(path: str, written: str) -> ModelName:
    folder = Path(path).expanduser()
    if not any(os.path.isfile(folder / config) for config in (CONFIG, CONFIG_OF_TRANSFORMERS)):
        raise ModelNameError(
            f"'{path}' is not a model's folder: it has neither {CONFIG} nor {CONFIG_OF_TRANSFORMERS}",
            hint=f"Give the folder that holds {CONFIG}, or transformers' {CONFIG_OF_TRANSFORMERS}, and the weights.",
        )
    folder = folder.absolute()
    return ModelName(NameForm.LOCAL, None, str(folder), written if written == DEMO else f"{LOCAL}{folder}")


def _pack(path: str) -> ModelName:
    place = Path(path).expanduser().absolute()
    if not path or not os.path.exists(place):
        raise ModelNameError(
            f"there is no model pack at '{path}'",
            hint="If it was moved, give the `model` pack:FILE. To make one: zsretrieve models export MODEL --pack FILE",
        )
    return ModelName(NameForm.PACK, None, str(place), f"{PACK}{place}")
