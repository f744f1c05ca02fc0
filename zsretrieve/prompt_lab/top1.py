"""Which images are top-1 correct: those whose nearest prototype is that of their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import ClassMappingError, ShapeError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.ranking import float32_score_error
from zsretrieve.domain.records import Head, PromptSet
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.metrics import probabilities
from zsretrieve.prompt_lab.prompt_vectors import PromptVectors

# Scores that are in memory at once, 16 MiB, so that they stay in the cache while their maximum is computed.
_BLOCK_SCORES = 1 << 22
# Of a mean of probabilities, far above the rounding errors of float64.
_DECIMALS = 9
# Images per search of the index, and per copy of their vectors.
_SEARCHED, _COPIED = 1 << 15, 1 << 16


@dataclass(frozen=True, eq=False)
class Scorer:
    """Labelled images to score prompts on, and the vectors of the prompts."""

    labelled: Labelled
    texts: PromptVectors
    backend: IndexBackend

    def correct(self, prototypes: Vectors, rows: Rows | None = None) -> NDArray[np.bool_]:
        """Which images, or which of ``rows``, are top-1 correct; bool of shape (n,). See ``top1_correct``."""
        vectors, truth = self.labelled.vectors, self.labelled.truth
        if rows is None:
            return top1_correct(vectors, truth, prototypes, self.backend)
        parts = [rows[start : start + _COPIED] for start in range(0, len(rows), _COPIED)]
        return np.concatenate([top1_correct(vectors[part], truth[part], prototypes, self.backend) for part in parts])

    def correct_by_probabilities(self, prompts: PromptSet, head: Head) -> NDArray[np.bool_]:
        """Which images are right if the probabilities by each template alone are averaged; bool of shape (n,).

        Radford et al. 2021, section 3.1.4, average vectors instead, which costs no more than a single template.
        """
        templates = self.texts.by_template(prompts)
        vectors, truth = self.labelled.vectors, self.labelled.truth
        correct = np.empty(len(truth), dtype=np.bool_)
        step = max(1, _BLOCK_SCORES // templates.shape[1])
        for start in range(0, len(truth), step):
            at = slice(start, start + step)
            total = np.zeros((len(truth[at]), templates.shape[1]))
            for rows in templates:
                scores = vectors[at].astype(np.float64) @ self.texts.vectors[rows].astype(np.float64).T
                top = scores.max(axis=1, keepdims=True)
                behind = np.log(np.exp(head.scale * (scores - top)).sum(axis=1))
                total += probabilities(scores, head, head.scale * top[:, 0] + head.bias + behind)
            # Classes of one name tie, whatever the rounding, and the lowest class id wins.
            correct[at] = np.round(total, _DECIMALS).argmax(axis=1) == truth[at]
        return correct

    def check_classes(self, prompts: PromptSet) -> None:
        """Raise ClassMappingError unless a set has the classes that the images are labelled with."""
        labelled = self.labelled.prompts
        if prompts.class_names != labelled.class_names:
            raise ClassMappingError(
                f"the set '{prompts.templates_source}' has the {len(prompts.class_names)} classes of "
                f"'{prompts.classes_source}', the images the {len(labelled.class_names)} of "
                f"'{labelled.classes_source}', and the two differ",
                hint="Put one list of classes into all templates.",
            )


def top1_correct(
    vectors: Vectors, truth: NDArray[np.int64], prototypes: Vectors, backend: IndexBackend
) -> NDArray[np.bool_]:
    """Whether an exact index of the prototypes would find the true class first, ties going to the lowest class id.

    Only the true class and the best of the others are compared, which costs less than a search: one product and one
    maximum. Where the two are so close that float32 may err, the index is searched.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    truth : int64 of shape (n,)
        Class ids.
    prototypes : float32 of shape (n_classes, dim), unit rows
    backend : IndexBackend

    Returns
    -------
    bool of shape (n,)

    Raises
    ------
    ShapeError
        If the shapes do not fit together, or a class id has no prototype.
    """
    n_classes, dim = prototypes.shape
    if vectors.shape != (len(truth), dim) or (len(truth) and not 0 <= truth.min() <= truth.max() < n_classes):
        raise ShapeError(f"vectors {vectors.shape}, truth {truth.shape} and prototypes {prototypes.shape} do not fit")
    error = 2.0 * float32_score_error(dim)
    correct = np.empty(len(truth), dtype=np.bool_)
    doubtful = [np.empty(0, dtype=np.int64)]
    step = max(1, _BLOCK_SCORES // n_classes)
    room = np.empty((min(step, len(truth)), n_classes), dtype=np.float32)
    for start in range(0, len(truth), step):
        block = vectors[start : start + step]
        scores = np.matmul(block, prototypes.T, out=room[: len(block)])
        own = (np.arange(len(block)), truth[start : start + step])
        own_scores = scores[own].astype(np.float64)
        scores[own] = -np.inf
        lead = own_scores - scores.max(axis=1)
        correct[start : start + step] = lead > 0
        doubtful.append(start + np.flatnonzero(np.abs(lead) <= error))
    undecided = np.concatenate(doubtful)
    if len(undecided):
        index = backend.create(dim)
        index.add(prototypes)
        for start in range(0, len(undecided), _SEARCHED):
            rows = undecided[start : start + _SEARCHED]
            _, best = index.search(vectors[rows], 1)
            correct[rows] = best[:, 0] == truth[rows]
    return correct
