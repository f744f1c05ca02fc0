"""Model names as people write them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from zsretrieve.errors import ModelNameError

DEFAULT_MODEL = "ViT-B-32-256/datacomp_s34b_b86k"
DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent.parent / "demo" / "model"

_LOCAL, _HUB = "local-dir:", "hf-hub:"
_FORMS = (
    "Write ARCH/TAG, hf-hub:org/repo, local-dir:PATH, ARCH/CHECKPOINT or demo; `zsretrieve models list` shows them."
)


class NameForm(Enum):
    TAG = "tag"
    CHECKPOINT = "checkpoint"
    HUB = "hub"
    LOCAL = "local"


@dataclass(frozen=True)
class ModelName:
    """A model name taken apart. ``rest`` is the tag, the checkpoint's path, the repository or the folder.

    ``written`` opens the model again from any working folder.
    """

    form: NameForm
    arch: str | None
    rest: str
    written: str

    @property
    def may_download(self) -> bool:
        """Whether anything of the model may come from the hub; a checkpoint's tokenizer may."""
        return self.form is not NameForm.LOCAL

    @property
    def in_passport(self) -> str:
        """How a passport names the model."""
        return f"{self.arch}/{self.rest}" if self.form is NameForm.TAG else self.written

    @property
    def open_clip_name(self) -> str:
        """What open_clip calls the architecture or the place."""
        match self.form:
            case NameForm.LOCAL:
                return f"{_LOCAL}{self.rest}"
            case NameForm.HUB:
                return f"{_HUB}{self.rest}"
            case NameForm.TAG | NameForm.CHECKPOINT:
                return str(self.arch)


def parse_model_name(name: str) -> ModelName:
    """Read a model name; whether such a model exists is found out when it is loaded.

    Raises
    ------
    ModelNameError
        If the name has none of the known forms, or names a folder or file that is not there.
    """
    name = name.strip()
    if name == DEMO:
        return _local(str(DEMO_FOLDER), DEMO)
    if name.startswith(_LOCAL):
        return _local(name.removeprefix(_LOCAL), name)
    if name.startswith(_HUB):
        repository = name.removeprefix(_HUB)
        if repository.count("/") != 1 or not all(repository.split("/")):
            raise ModelNameError(f"'{name}' names no repository", hint="Write hf-hub:org/repo.")
        return ModelName(NameForm.HUB, None, repository, name)
    for separator in (",", "/"):
        arch, found, rest = name.partition(separator)
        if found and arch.strip() and rest.strip():
            arch, rest = arch.strip(), rest.strip()
            if (checkpoint := Path(rest).expanduser().absolute()).is_file():
                return ModelName(NameForm.CHECKPOINT, arch, str(checkpoint), f"{arch}/{checkpoint}")
            if "/" in rest or Path(rest).suffix in {".pt", ".pth", ".bin", ".safetensors", ".npz"}:
                raise ModelNameError(f"there is no checkpoint '{rest}'", hint=_FORMS)
            return ModelName(NameForm.TAG, arch, rest, name)
    if name.lower() == DEMO:
        raise ModelNameError(f"'{name}' is not a model name", hint=f"Did you mean {DEMO}?")
    more = f"An architecture needs a tag: `zsretrieve models list {name} --all` shows them. " if name else ""
    raise ModelNameError(f"'{name}' is not a model name", hint=f"{more}{_FORMS}")


def tag_identity(name: ModelName) -> str | None:
    """What identifies the weights of a pretrained tag; None for other forms."""
    if name.form is not NameForm.TAG:
        return None
    return f"tag:{str(name.arch).removesuffix('-quickgelu')}/{name.rest.lower().replace('-', '_')}"


def _local(path: str, written: str) -> ModelName:
    folder = Path(path).expanduser()
    if not (folder / "open_clip_config.json").is_file():
        raise ModelNameError(
            f"'{path}' is not a local open_clip model: it has no open_clip_config.json",
            hint="Give the folder that holds open_clip_config.json and the weights.",
        )
    folder = folder.absolute()
    return ModelName(NameForm.LOCAL, None, str(folder), written if written == DEMO else f"{_LOCAL}{folder}")
