"""Images with their true classes, for evaluation, the prompt lab and few-shot learning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.labels import is_by_number, map_labels
from zsretrieve.domain.records import Item, PromptSet, Skipped, Space
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.encoding.batches import Encoded
from zsretrieve.gallery.search import selected
from zsretrieve.images import opening
from zsretrieve.store.indexes import Gallery

_log = logging.getLogger("zsretrieve")

NO_LABEL = (
    "Put the images into one folder per class, give a `ground_truth`, or name the label column of a table 'label'."
)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Vectors and their classes.

    Attributes
    ----------
    vectors : float32 of shape (n, dim), unit rows
    truth : int64 of shape (n,)
        Class ids of ``prompts``.
    items : tuple of Item, length n
    paths : tuple of str, length n
        As they are opened.
    prompts : PromptSet
    space : Space
    skipped : tuple of Skipped
        Inputs that never became vectors.
    unlabelled : int
        How many images have no label; they are not here.
    where : str, optional
        The filter that the images passed.
    n_drawn : int
        How many images the prototypes were made from (``splits.without_drawn``): left out unless ``shots_included``.
    """

    vectors: Vectors
    truth: NDArray[np.int64]
    items: tuple[Item, ...]
    paths: tuple[str, ...]
    prompts: PromptSet
    space: Space
    skipped: tuple[Skipped, ...]
    unlabelled: int
    where: str | None = None
    n_drawn: int = 0
    shots_included: bool = False

    @property
    def n_by_number(self) -> int:
        """How many labels are numbers of classes, from 0, rather than names."""
        return sum(self._is_by_number(row) for row in range(len(self.items)))

    def note_numbers(self) -> None:
        """Log that labels were read as numbers, and what the first of them was taken for."""
        first = next((row for row in range(len(self.items)) if self._is_by_number(row)), None)
        if first is not None:
            label, name = str(self.items[first].label).removeprefix("#"), self.prompts.class_names[self.truth[first]]
            _log.info(f"labels are read as class numbers, from 0: {label} is '{name}'")

    def _is_by_number(self, row: int) -> bool:
        label = self.items[row].label
        return label is not None and is_by_number(label, int(self.truth[row]), self.prompts)

    def at(self, rows: Rows) -> Labelled:
        """Some of its images; what was left out of all of them is not counted here."""
        return replace(
            self,
            vectors=self.vectors[rows],
            truth=self.truth[rows],
            items=tuple(self.items[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            skipped=(),
            unlabelled=0,
            n_drawn=0,
        )


def labelled_gallery(gallery: Gallery, prompts: PromptSet, *, where: str | None = None) -> Labelled:
    """The labelled images of a gallery, or those of them that pass a filter.

    Raises
    ------
    SourceError
        If the gallery is empty, or no image has a label.
    ClassMappingError
        If a label is not one of the classes.
    FilterError
        If the filter cannot be used, or nothing passes it.
    """
    rows = selected(gallery, where)
    chosen = np.arange(len(gallery.items)) if rows is None else rows
    items = [gallery.items[int(row)] for row in chosen]
    if not any(item.label is not None for item in items):
        which = "images of the gallery" if rows is None else "images that pass the filter"
        raise SourceError(
            f"none of the {which} has a label",
            hint="Labels are taken when a gallery is built: from folder names, or with a `ground_truth`.",
        )
    paths = [gallery.path_of(item) for item in items]
    vectors = gallery.vectors if rows is None else gallery.index.stored(rows)
    return _labelled(items, paths, vectors, prompts, gallery.space, gallery.manifest.skipped, where)


def labelled_source(encoded: Encoded, root: str, prompts: PromptSet, space: Space) -> Labelled:
    """The labelled images of an encoded source. Raises SourceError and ClassMappingError as above."""
    paths = [opening.join(root, item.path) for item in encoded.items]
    return _labelled(list(encoded.items), paths, encoded.vectors, prompts, space, encoded.skipped, None)


def class_ids(labels: Sequence[str | None], prompts: PromptSet) -> dict[str, int]:
    """The class of every label. Raises SourceError if there is no label, ClassMappingError if one has no class."""
    known = [label for label in labels if label is not None]
    if not known:
        raise SourceError(
            "none of the images has a label",
            hint=NO_LABEL,
        )
    return map_labels(known, prompts)


def _labelled(
    items: list[Item],
    paths: list[str],
    vectors: Vectors,
    prompts: PromptSet,
    space: Space,
    skipped: tuple[Skipped, ...],
    where: str | None,
) -> Labelled:
    ids = class_ids([item.label for item in items], prompts)
    at = [row for row, item in enumerate(items) if item.label is not None]
    truth = np.array([ids[label] for row in at if (label := items[row].label) is not None], dtype=np.int64)
    kept = vectors if len(at) == len(items) else np.ascontiguousarray(vectors[at])
    labelled = Labelled(
        kept, truth, tuple(items[row] for row in at), tuple(paths[row] for row in at), prompts, space, skipped,
        len(items) - len(at), where,
    )  # fmt: skip
    labelled.note_numbers()
    return labelled
