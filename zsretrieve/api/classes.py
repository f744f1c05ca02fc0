"""The classes of a request: a prototype index, or names that are put into prompts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from zsretrieve.api.indexes import open_prototypes
from zsretrieve.api.models import calibrate_once
from zsretrieve.api.sources import SourceLike, is_gallery, refuse_compute
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.image_sides import space_beside
from zsretrieve.encoders.loading import Model
from zsretrieve.images.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes

_log = logging.getLogger("zsretrieve")


@dataclass(frozen=True)
class Classes:
    """The prompts of the classes, and their ``index`` if there is one."""

    prompts: PromptSet
    index: Prototypes | None

    @classmethod
    def open(
        cls,
        prototypes: Prototypes | PathLike | Sequence[str] | None,
        classes: PathLike | Sequence[str] | PromptSet | None,
        templates: PathLike | Sequence[str] | None,
        *,
        device: str,
        half: bool,
    ) -> Classes:
        """What one of ``prototypes`` and ``classes`` names; nothing is encoded yet.

        Raises UsageError if both or none are given, or templates without classes; PromptError as ``read_prompts``.
        """
        if classes is None:
            if isinstance(prototypes, Sequence) and not isinstance(prototypes, str):
                return cls.open(None, prototypes, templates, device=device, half=half)
            if prototypes is None:
                raise UsageError(
                    "there are no classes", hint="Name them with `classes`, or give an index with `prototypes`."
                )
            if templates is not None:
                raise UsageError("a prototype index has its templates already", hint="Leave `templates` out.")
            if not isinstance(prototypes, Prototypes):
                prototypes = open_prototypes(prototypes, device=device, half=half)
            return cls(prototypes.prompts, prototypes)
        if prototypes is not None:
            raise UsageError("`prototypes` and `classes` both name the classes", hint="Give one of them.")
        if isinstance(classes, PromptSet):
            return cls(classes, None)
        from zsretrieve.api.prompts import read_prompts

        return cls(read_prompts(classes, templates), None)

    def check_installed(self, source: SourceLike | Gallery, model: Model) -> None:
        """Before images are looked for, check the model that must encode prompts: see ``Model.check_installed``."""
        if self.index is None and (model.name is not None or not is_gallery(source)):
            model.check_installed()

    def prototypes(
        self, images: Source | Gallery, model: Model, reading: Reading, *, half: bool, on_stage: OnStage | None
    ) -> tuple[Prototypes, Model]:
        """The prototypes, made now unless they are an index, and the model that encodes the images."""
        if self.index is not None:
            model = model.named(self.index.space.model)
            model.check(space_beside(model, self.index.space))
            if isinstance(images, Gallery):
                refuse_compute(model.compute)
        elif isinstance(images, Gallery):
            model = model.named(images.space.model)
        if isinstance(images, Source):
            calibrate_once(model, images, reading, on_stage)
        if self.index is not None:
            return self.index, model
        from zsretrieve.api.prototypes import make_prototypes

        built = make_prototypes(self.prompts, model, device=model.compute.device, half=half, on_stage=on_stage)
        for line in built.notes():
            _log.info(line)
        return built.prototypes, model
