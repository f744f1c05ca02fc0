"""Keys and values of an adapter: images that add to the scores of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import IntegrityError
from zsretrieve.domain.records import Manifest
from zsretrieve.domain.training import Adapter
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.domain.wording import one_line
from zsretrieve.store import manifest as manifests

KEYS, VALUES = "keys.npy", "values.npy"
# At most this many affinities are in memory at once (32 MiB), or those of one vector.
_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class KeyValues:
    """The cache model of Tip-Adapter (Zhang et al. 2022, section 3.1).

    Attributes
    ----------
    keys : float32 of shape (n_keys, dim)
        Vectors of training images; learnt keys are not of unit length.
    classes : int64 of shape (n_keys,), ascending
        The values: the class of each key, whose one-hot vector is a row of L in the paper.
    alpha, beta : float
        The residual ratio and the sharpness ratio; ``alpha`` is in units of logits.
    """

    keys: Vectors
    classes: Rows
    alpha: float
    beta: float

    def added(self, vectors: Vectors, n_classes: int) -> NDArray[np.float64]:
        """What the keys add to the logits: ``alpha * exp(-beta * (1 - x F^T)) L``.

        Parameters
        ----------
        vectors : float32 of shape (n, dim), unit rows
        n_classes : int

        Returns
        -------
        float64 of shape (n, n_classes)
        """
        return self.alpha * class_sums(vectors, self.keys, self.classes, n_classes, self.beta)

    @property
    def described(self) -> Adapter:
        return Adapter(len(self.keys), self.alpha, self.beta)

    def write(self, where: Path) -> None:
        """Write the arrays into the folder of a segment."""
        np.save(where / KEYS, self.keys)
        np.save(where / VALUES, self.classes)


def class_sums(
    vectors: Vectors, keys: NDArray[np.floating[Any]], classes: Rows, n_classes: int, beta: float
) -> NDArray[np.float64]:
    """``exp(-beta * (1 - x F^T)) L``: of each vector, the affinities to the keys of each class, in float64.

    Parameters
    ----------
    vectors : float32 of shape (n, dim), unit rows
    keys : floating of shape (n_keys, dim)
    classes : int64 of shape (n_keys,), ascending
    n_classes : int
    beta : float

    Returns
    -------
    float64 of shape (n, n_classes)
        0 for classes without a key.
    """
    wide = keys.astype(np.float64).T
    firsts = np.flatnonzero(np.diff(classes, prepend=-1))
    sums = np.zeros((len(vectors), n_classes))
    step = max(1, _ELEMENTS // len(keys))
    for start in range(0, len(vectors), step):
        affinities = np.exp(-beta * (1.0 - vectors[start : start + step].astype(np.float64) @ wide))
        sums[start : start + step, classes[firsts]] = np.add.reduceat(affinities, firsts, axis=1)
    return sums


def read_key_values(where: Path, manifest: Manifest) -> KeyValues | None:
    """The keys and values of a prototype index, None if it has no adapter. Raises IntegrityError."""
    adapter = manifest.adapter
    if adapter is None:
        return None
    try:
        keys, classes = (np.load(where / name, allow_pickle=False) for name in (KEYS, VALUES))
    except (OSError, ValueError, EOFError) as error:
        raise IntegrityError(f"the keys in '{where}' are damaged: {one_line(error)}", hint=manifests.REBUILD) from error
    shape = (adapter.n_keys, manifest.space.dim)
    sound = keys.dtype == np.float32 and keys.shape == shape and np.isfinite(keys).all()
    sound = sound and classes.dtype == np.int64 and classes.shape == shape[:1] and (np.diff(classes) >= 0).all()
    if not (sound and adapter.n_keys and classes[0] >= 0 and classes[-1] < manifest.count):
        raise IntegrityError(f"the keys in '{where}' are damaged: wrong shapes or classes", hint=manifests.REBUILD)
    return KeyValues(keys, classes, adapter.alpha, adapter.beta)
