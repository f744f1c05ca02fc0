"""Label propagation from text prototypes over a gallery's nearest-neighbour graph: ZLaP (Stojnic, Kalantidis and Tolias
2024, CVPR, arXiv 2404.04072).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.ports import OnProgress
from zsretrieve.domain.propagation import Propagation
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.evaluation.answers import OfShares, parts
from zsretrieve.store.indexes import Gallery, Prototypes

# The residual of a solution, of the length of the right side.
_RESIDUAL = 1e-10


@dataclass(frozen=True, eq=False)
class Graph:
    """The images of a gallery, ``rows`` of it or all, and the classes of text prototypes, joined and solved.

    The nodes are the classes and then the images. An image is joined to its nearest images by their cosine similarity,
    and to its nearest classes by the ``gamma``-th power of the similarity; negative ones count as 0. With W the sum of
    these weights and their transpose, ``N = D^-1/2 W D^-1/2`` and ``L = I - alpha N``, the solution is ``L^-1 Y``,
    where column c of Y is 1 at the node of class c. An image is not its own neighbour; in the authors' code it is the
    first of the k.

    Attributes
    ----------
    solution : float64 of shape (n_classes + n_images, n_classes), dense or sparse
        With ``how.sparse`` it holds the greatest entry of each row alone (the paper's sparse form).
    """

    gallery: Gallery
    rows: Rows | None
    prototypes: Prototypes
    how: Propagation
    solution: Any

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        prototypes: Prototypes,
        how: Propagation,
        *,
        rows: Rows | None = None,
        on_progress: OnProgress | None = None,
    ) -> Graph:
        """Build the graph and solve it, class by class.

        Parameters
        ----------
        gallery : Gallery
        prototypes : Prototypes
            From text, or means of images: their scores must be cosine similarities.
        how : Propagation
        rows : int64 of shape (n_images,), optional
            Ascending; all images by default.
        on_progress : callable, optional
            Called with (classes done, classes in all).

        Raises
        ------
        SpaceMismatchError
            If gallery and prototypes have different embedding spaces.
        SourceError
            If the prototypes are a probe or have an adapter, or the gallery is empty.
        """
        from scipy.sparse import coo_array, diags_array, eye_array

        check_same_images(gallery.space, "the gallery", prototypes.space, "the prototype index")
        check_spreads(prototypes)
        images = np.arange(len(gallery.items)) if rows is None else rows
        if not len(images):
            raise SourceError("the gallery is empty, so it has no neighbours", hint="Give a gallery with images.")
        n_classes = len(prototypes.vectors)
        n = n_classes + len(images)
        starts, ends, weights = [], [], []
        for part in parts(len(images), gallery.space.dim * (how.neighbours + 1)):
            of = images[part]
            columns, values = _joined(gallery.index.stored(of), gallery, rows, prototypes, how, itself=of)
            starts.append(np.repeat(n_classes + np.arange(len(images))[part], columns.shape[1]))
            ends.append(columns.ravel())
            weights.append(values.ravel())
        ends_of, weights_of = np.concatenate(ends), np.concatenate(weights)
        real = ends_of >= 0
        pairs = np.concatenate(starts)[real], ends_of[real]
        one_way = coo_array((weights_of[real], pairs), shape=(n, n)).tocsr()
        both = one_way + one_way.T
        degrees = np.asarray(both.sum(axis=1)).ravel()
        scaled = diags_array(1 / np.sqrt(np.where(degrees > 0, degrees, 1.0)))
        laplacian = (eye_array(n) - how.alpha * (scaled @ both @ scaled)).tocsr()
        return cls(gallery, rows, prototypes, how, _solved(laplacian, n_classes, how.sparse, on_progress))

    def own(self, ids: Rows) -> OfShares:
        """The answers for images of the graph (transductive), by their IDs, int64 of shape (n,)."""
        known = self.gallery.ids if self.rows is None else self.gallery.ids[self.rows]
        return self._shares(self.solution[len(self.prototypes.vectors) + np.searchsorted(known, ids)])

    def others(self, vectors: Vectors) -> OfShares:
        """The answers for other images (inductive), float32 of shape (n, dim), unit rows.

        A new image is joined as those of the graph are, and its answer is the sum of its neighbours' rows of the
        solution, times their weights. Since L is symmetric, this is the paper's form with the image's weights as the
        right side, solved once for all images instead of once for each.
        """
        from scipy.sparse import coo_array

        n_nodes, n_classes = self.solution.shape
        sums = np.empty((len(vectors), n_classes))
        for part in parts(len(vectors), self.gallery.space.dim * (self.how.neighbours + 1)):
            columns, values = _joined(vectors[part], self.gallery, self.rows, self.prototypes, self.how)
            starts = np.repeat(np.arange(len(columns)), columns.shape[1])
            real = columns.ravel() >= 0
            joined = coo_array(
                (values.ravel()[real], (starts[real], columns.ravel()[real])), shape=(len(columns), n_nodes)
            ).tocsr()
            found = joined @ self.solution
            sums[part] = found.toarray() if self.how.sparse else found
        return self._shares(sums)

    def _shares(self, sums: NDArray[np.float64]) -> OfShares:
        totals = sums.sum(axis=1, keepdims=True)
        # An image that nothing is like has no class rather than another.
        even = np.full_like(sums, 1 / sums.shape[1])
        shares = np.divide(sums, totals, out=even, where=totals > 0)
        return OfShares(shares, self.prototypes.prompts.class_names)


def check_spreads(prototypes: Prototypes) -> None:
    """Raise SourceError if the scores of prototypes are not cosine similarities."""
    if prototypes.manifest.lifted or prototypes.keys is not None:
        raise SourceError(
            "labels spread from text prototypes, and these are a probe or have an adapter",
            hint="Give prototypes from text, or means of images.",
        )


def _joined(
    vectors: Vectors,
    gallery: Gallery,
    rows: Rows | None,
    prototypes: Prototypes,
    how: Propagation,
    itself: Rows | None = None,
) -> tuple[Rows, NDArray[np.float64]]:
    """The nodes that images are joined to, -1 in places without one, and the weights; each of shape (n, some).

    ``itself`` are the rows of the images that are in the gallery, which are not their own neighbours.
    """
    n_images = len(gallery.items) if rows is None else len(rows)
    n_classes = len(prototypes.vectors)
    k = min(how.neighbours + (itself is not None), n_images)
    near, _ = gallery.nearest(vectors, k, rows)
    if itself is not None:
        # Equal images may come before the image itself, or leave no place for it.
        is_other = near != itself[:, None]
        by = np.argsort(~is_other, axis=1, kind="stable")[:, : how.neighbours]
        near = np.where(np.take_along_axis(is_other, by, axis=1), np.take_along_axis(near, by, axis=1), -1)
    known = near >= 0
    stored = gallery.index.stored(np.where(known, near, 0))
    likeness = np.einsum("nkd,nd->nk", stored, vectors, dtype=np.float64)
    nodes = near if rows is None else np.searchsorted(rows, near)
    nodes = np.where(known, n_classes + nodes, -1)
    scores, classes = prototypes.search(vectors, min(how.neighbours, n_classes))
    to_classes = np.maximum(scores.astype(np.float64), 0.0) ** how.gamma
    return np.hstack([nodes, classes]), np.hstack([np.maximum(likeness, 0.0), to_classes])


def _solved(laplacian: Any, n_classes: int, sparse: bool, on_progress: OnProgress | None) -> Any:
    """``L^-1 Y`` by conjugate gradients, float64 of shape (n_nodes, n_classes); sparse as in ``Graph``."""
    from scipy.sparse import coo_array

    n = laplacian.shape[0]
    best, of = np.zeros(n), np.zeros(n, dtype=np.int64)
    solution = None if sparse else np.empty((n, n_classes))
    for class_id, column in enumerate(_columns(laplacian, n_classes)):
        if solution is None:
            is_better = column > best
            best[is_better], of[is_better] = column[is_better], class_id
        else:
            solution[:, class_id] = column
        if on_progress is not None:
            on_progress(class_id + 1, n_classes)
    if solution is not None:
        # Rounding may leave less than nothing.
        return np.maximum(solution, 0.0, out=solution)
    return coo_array((best, (np.arange(n), of)), shape=(n, n_classes)).tocsr()


def _columns(laplacian: Any, n_classes: int) -> Iterator[NDArray[np.float64]]:
    from scipy.sparse.linalg import cg

    right = np.zeros(laplacian.shape[0])
    for class_id in range(n_classes):
        right[:] = 0.0
        right[class_id] = 1.0
        yield cg(laplacian, right, rtol=_RESIDUAL)[0]
