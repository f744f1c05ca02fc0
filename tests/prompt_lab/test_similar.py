"""Pairs of similar prototypes, against all pairs counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.exact_index import NumpyBackend
from kits.hashing_encoder import HashingEncoder
from kits.prompting import labelled, prompt_set

from zsretrieve.domain.errors import RankError
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.prompt_lab import similar as module
from zsretrieve.prompt_lab.similar import Similar
from zsretrieve.prototypes.text import in_memory


def similar(rows: Vectors, names: Sequence[str], *, pairs: int = 20, labelled: Labelled | None = None) -> Similar:
    encoder = HashingEncoder(dim=rows.shape[1])
    prompts = prompt_set(names, ["{}"])
    prototypes = in_memory(rows, prompts, NumpyBackend(), encoder.space, encoder.head, encoder.encoding)
    return module.similar(prototypes, pairs=pairs, labelled=labelled)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 80), st.sampled_from([9, 1 << 22]))
def test_pairs_and_nearest_are_those_of_the_full_matrix(seed: int, n: int, pairs: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    # Few values, so that there are ties.
    prototypes = unit_rows(rng.integers(-1, 2, (n, 3)) + np.array([1.5, 0, 0]))
    wide = prototypes.astype(np.float64)
    matrix = (wide @ wide.T).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK_ELEMENTS", chunk)
        found = similar(prototypes, [f"class {i}" for i in range(n)], pairs=pairs)
    every = sorted((-float(matrix[i, j]), i, j) for i in range(n) for j in range(i + 1, n))[:pairs]
    assert [p.similarity for p in found.pairs] == pytest.approx([-value for value, _, _ in every], abs=1e-6)
    if len({round(value, 5) for value, _, _ in every}) == len(every):
        assert {(p.first_id, p.second_id) for p in found.pairs} == {(i, j) for _, i, j in every}
    assert len({(p.first_id, p.second_id) for p in found.pairs}) == len(found.pairs)
    assert all(p.first_id < p.second_id for p in found.pairs)
    np.fill_diagonal(matrix, -2)
    for row in found.nearest:
        assert row.nearest_id != row.class_id
        assert row.similarity == pytest.approx(float(matrix[row.class_id].max()), abs=1e-6)
        assert matrix[row.class_id, row.nearest_id] == pytest.approx(row.similarity, abs=1e-6)


def test_twins_and_classes_that_are_unusually_close_are_marked() -> None:
    rng = np.random.default_rng(2)
    prototypes = unit_rows(rng.standard_normal((40, 64)))
    prototypes[7] = prototypes[3]
    prototypes[20] = unit_rows((prototypes[21] + 0.1 * prototypes[5])[None])[0]
    names = [f"class {i}" for i in range(40)]
    names[3], names[7] = "Missile", "missile"
    found = similar(prototypes, names, pairs=2)
    assert [(p.first_id, p.second_id, p.same_name) for p in found.pairs] == [(3, 7, True), (20, 21, False)]
    assert {row.class_id for row in found.nearest if row.close} == {3, 7, 20, 21}
    assert {row.class_id for row in found.nearest if row.same_name} == {3, 7}
    assert found.usual < found.fence < found.pairs[1].similarity


def test_equal_prototypes_are_close_however_few_classes_there_are() -> None:
    prototypes = unit_rows(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0], [-1.0, 0.2]]))
    found = similar(prototypes, ["azure", "misc", "sky", "none"])
    assert found.fence < 1.0
    assert {row.class_id for row in found.nearest if row.close} == {0, 1}


def test_confusions_are_counted_both_ways() -> None:
    prompts = prompt_set(names=("a", "b", "c"), templates=["{}"])
    prototypes = unit_rows(np.array([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]))
    seen = [0, 0, 1, 1, 1, 2, 0, 0]
    truth = np.array([0, 1, 1, 0, 0, 2, 2, 1])
    images = labelled(prototypes[seen], truth, prompts)
    found = similar(prototypes, prompts.class_names, labelled=images)
    pairs = {(p.first_id, p.second_id): p for p in found.pairs}
    pair = pairs[0, 1]
    assert (pair.first_as_second, pair.n_first, pair.second_as_first, pair.n_second) == (2, 3, 2, 3)
    far = pairs[0, 2]
    assert (far.first_as_second, far.second_as_first) == (0, 1)
    nearest = found.nearest[1]
    assert (nearest.first_as_second, nearest.second_as_first) == (2, 2)
    assert similar(prototypes, prompts.class_names).pairs[0].n_first is None


def test_one_class_or_no_pair_is_refused() -> None:
    rows = unit_rows(np.eye(2))
    with pytest.raises(RankError, match="one class alone"):
        similar(rows[:1], ["a"])
    with pytest.raises(RankError, match="at least 1, got 0"):
        similar(rows, ["a", "b"], pairs=0)
