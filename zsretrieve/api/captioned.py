"""Images with their captions, from a file that names them or from their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zsretrieve.api.prompts import Prompts, read_prompts
from zsretrieve.api.prototypes import prompts_of_labels
from zsretrieve.api.texts import open_texts
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.records import PathLike, PromptSet, Skipped
from zsretrieve.evaluation.captions import pair
from zsretrieve.evaluation.labelled import class_ids
from zsretrieve.images.sources import Source
from zsretrieve.training.pairs import Pairs


def check_captions(
    captions: PathLike | Source | None, classes: Prompts | PromptSet | None, templates: Prompts | None
) -> None:
    """Raise UsageError if there are captions, and what would make others of labels."""
    if captions is not None and (classes is not None or templates is not None):
        raise UsageError("captions are used as they are", hint="Leave out `classes` and `templates`, or `captions`.")


@dataclass(frozen=True)
class Captioned:
    """Images that may have captions: their paths, as they are written and in full, their labels, and where they are
    from. Rows of the pairs are places in these.
    """

    paths: Sequence[str]
    addresses: Sequence[str]
    labels: Sequence[str | None]
    where: str

    def described(self, captions: PathLike | Source) -> Pairs:
        """The images with the captions that name them. Raises SourceError as ``open_texts`` and ``pair`` do."""
        texts = captions if isinstance(captions, Source) else open_texts(captions)
        paired = pair(texts, self.paths, self.addresses, self.where)
        of_image: dict[int, list[str]] = {image: [] for image in paired.images.tolist()}
        for place, owner in zip(paired.captions.tolist(), paired.owners.tolist(), strict=True):
            text = texts.files[place].text
            assert text is not None
            of_image[int(paired.images[owner])].append(text.text)
        missing = [
            Skipped(address, "no caption") for image, address in enumerate(self.addresses) if image not in of_image
        ]
        return Pairs.of(of_image, (*texts.skipped, *paired.without, *missing))

    def labelled(self, classes: Prompts | PromptSet | None, templates: Prompts | None) -> Pairs:
        """The images with the prompts of their labels as captions.

        Raises ClassMappingError or PromptError if labels, classes and templates do not go together.
        """
        if classes is None:
            prompts = prompts_of_labels(self.labels, templates)
        else:
            prompts = classes if isinstance(classes, PromptSet) else read_prompts(classes, templates)
        ids = class_ids(self.labels, prompts)
        skipped = [
            Skipped(address, "no label")
            for address, label in zip(self.addresses, self.labels, strict=True)
            if label is None
        ]
        known = {image: prompts.prompts[ids[label]] for image, label in enumerate(self.labels) if label is not None}
        return Pairs.of(known, skipped)
