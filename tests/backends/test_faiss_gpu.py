"""Copies on several GPUs, with indexes on the CPU in their places; and, where there is a GPU, the real ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from kits.index_kit import check_index, full_sort

from zsretrieve.backends import faiss_gpu
from zsretrieve.backends.faiss_flat import FaissBackend, FaissFlatIndex
from zsretrieve.backends.faiss_gpu import Mirror
from zsretrieve.backends.flat_file import FlatFile
from zsretrieve.domain.vectors import Vectors, unit_rows

needs_gpu = pytest.mark.skipif(not faiss_gpu.count(), reason="FAISS sees no GPU on this machine")


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, dim)))


class OnSeveral(FaissFlatIndex):
    n, sharded = 1, False

    def _mirror(self) -> Mirror:
        if self._copy is None:
            self._copy = Mirror([partial(faiss.IndexFlatIP, self.dim)] * self.n, self._aligned(), sharded=self.sharded)
        return self._copy


class BackendOnSeveral:
    def __init__(self, n: int, sharded: bool) -> None:
        self.kind = type("Kind", (OnSeveral,), {"n": n, "sharded": sharded})

    def create(self, dim: int) -> FaissFlatIndex:
        made: FaissFlatIndex = self.kind(dim, device="cuda")
        return made

    def load(self, path: Path, aligned: Any = ()) -> FaissFlatIndex:
        file = FlatFile(path)
        opened: FaissFlatIndex = self.kind(file.dim, file, device="cuda")
        return opened


@pytest.mark.parametrize(("n", "sharded"), [(1, False), (3, False), (1, True), (3, True)])
def test_copies_on_several_gpus_are_exact(tmp_path: Path, n: int, sharded: bool) -> None:
    check_index(BackendOnSeveral(n, sharded), tmp_path)


@pytest.mark.parametrize("sharded", [False, True])
def test_what_lies_on_which_gpu(sharded: bool) -> None:
    stored = vectors(100, 8, 0)
    mirror = Mirror([partial(faiss.IndexFlatIP, 8)] * 3, np.split(stored, [10, 60]), sharded=sharded)
    assert [index.ntotal for index in mirror._indexes] == ([33, 33, 34] if sharded else [100] * 3)
    more = vectors(7, 8, 1)
    mirror.add(more)
    assert [index.ntotal for index in mirror._indexes] == ([33, 33, 41] if sharded else [107] * 3)
    every: Vectors = np.concatenate((stored, more))
    for asked in (1, 2, 50):  # fewer queries than GPUs, too
        for k in (1, 20, 107):  # more than one GPU holds, too
            scores, rows = mirror.search(every[:asked], k)
            expected_scores, expected_rows = full_sort(every, every[:asked], k)
            np.testing.assert_array_equal(rows, expected_rows)
            np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_rows_added_later_reach_the_copy_there_is() -> None:
    index = BackendOnSeveral(2, False).create(8)
    stored = vectors(60, 8, 2)
    index.add(stored[:30])
    index.search(stored[:1], 1)
    copy = index._mirror()
    index.add(stored[30:])
    np.testing.assert_array_equal(index.search(stored, 1)[1][:, 0], np.arange(60))
    assert index._mirror() is copy


def test_tensors_are_rows_on_the_cpu_as_well() -> None:
    torch = pytest.importorskip("torch")
    stored = vectors(9, 8, 3)
    index = FaissBackend("cpu").create(8)
    index.add_tensor(torch.from_numpy(stored))
    np.testing.assert_array_equal(index.stored(np.arange(9)), stored)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
def test_tensors_are_added_on_the_gpu(half: bool) -> None:
    import torch

    stored = vectors(500, 32, 6)
    index = FaissBackend("cuda", half=half).create(32)
    for start in range(0, 500, 100):
        index.add_tensor(torch.from_numpy(stored[start : start + 100]).cuda())
        index.search(stored[:1], 1)
    assert index._mirror()._indexes[0].ntotal == 500
    np.testing.assert_array_equal(index.search(stored, 5)[1], full_sort(stored, stored, 5)[1])
