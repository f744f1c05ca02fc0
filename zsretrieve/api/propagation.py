"""Propagation in requests: what it contradicts, and the gallery over which labels spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsretrieve.api.indexes import open_gallery
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.propagation import Propagation
from zsretrieve.domain.records import PathLike
from zsretrieve.evaluation.answers import OfShares
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.propagation import Graph
from zsretrieve.gallery.search import selected
from zsretrieve.images.sources import Source
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.named import folder_of


def check_propagation(
    propagate: Propagation | None,
    graph: Gallery | PathLike | None,
    scale: float | None,
    *,
    fit_scale: bool = False,
    retrieval_at: Sequence[int] = (),
) -> None:
    """Raise UsageError if options have no effect with propagation, or only with it."""
    if propagate is None:
        if graph is not None:
            raise UsageError("`graph` has no effect without `propagate`", hint="Add `propagate`.")
        return
    for name, given in (("scale", scale is not None), ("fit_scale", fit_scale), ("retrieval_at", bool(retrieval_at))):
        if given:
            raise UsageError(f"`{name}` has no effect with `propagate`", hint=f"Leave `{name}` out.")


@dataclass(frozen=True)
class Through:
    """The gallery over which labels spread to images; ``is_source`` if it is these images themselves."""

    gallery: Gallery
    how: Propagation
    is_source: bool
    where: str | None

    @classmethod
    def open(
        cls,
        images: Source | Gallery,
        propagate: Propagation | None,
        graph: Gallery | PathLike | None,
        *,
        where: str | None,
        device: str,
    ) -> Through | None:
        """What a request names, None without propagation. Raises UsageError if there is no gallery."""
        if propagate is None:
            return None
        if graph is None or (isinstance(images, Gallery) and _is_same(images, graph)):
            if propagate.sparse:
                raise UsageError("`sparse` has no effect on the images of the graph itself", hint="Leave `sparse` out.")
            if isinstance(images, Gallery):
                return cls(images, propagate, True, where)
            raise UsageError(
                "labels spread over the images of a gallery, and the source is not one",
                hint="Index the images first, or give a gallery of similar images as `graph`.",
            )
        return cls(graph if isinstance(graph, Gallery) else open_gallery(graph, device=device), propagate, False, None)

    def solved(self, prototypes: Prototypes, on_stage: OnStage | None) -> Graph:
        """The graph with the classes of prototypes spread over it."""
        rows, on_progress = selected(self.gallery, self.where), progress_of(on_stage, "spreading labels")
        return Graph.of(self.gallery, prototypes, self.how, rows=rows, on_progress=on_progress)

    def answers(self, labelled: Labelled, prototypes: Prototypes, on_stage: OnStage | None) -> OfShares:
        """The answers for labelled images."""
        graph = self.solved(prototypes, on_stage)
        if not self.is_source:
            return graph.others(labelled.vectors)
        return graph.own(np.array([item.id for item in labelled.items], dtype=np.int64))


def _is_same(gallery: Gallery, graph: Gallery | PathLike) -> bool:
    if isinstance(graph, Gallery):
        return graph is gallery
    return gallery.folder is not None and folder_of(graph).resolve() == gallery.folder.resolve()
