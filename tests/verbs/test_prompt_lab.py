"""Figures of the lab are those that evaluation with an index of the same templates gives."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from kits.prompting import NAMES, TEMPLATES, labelled, pictures_near, prompt_set

from zsretrieve import api
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import ClassMappingError
from zsretrieve.metrics import paired_difference, wilson
from zsretrieve.ports import IndexBackend
from zsretrieve.records import PromptSet
from zsretrieve.vectors import unit_rows
from zsretrieve.verbs.labelled import Labelled
from zsretrieve.verbs.prompt_lab import compare, rank, sensitivity
from zsretrieve.verbs.prompt_vectors import encode_prompts

ENCODER = HashingEncoder()


def right(pictures: Labelled, prompts: PromptSet) -> np.ndarray:
    """Who is right by an index of its own."""
    index = api.make_prototypes(prompts, ENCODER, device="cpu").prototypes.index
    found: np.ndarray = index.search(pictures.vectors, 1)[1][:, 0] == pictures.truth
    return found


@pytest.fixture(scope="module")
def pictures() -> Labelled:
    return pictures_near(ENCODER, prompt_set(), 400, seed=1)


def test_sets_side_by_side(pictures: Labelled, backend: IndexBackend) -> None:
    sets = [prompt_set(templates=TEMPLATES[:n], source=f"first {n}") for n in (1, 2, 6)]
    texts = encode_prompts(sets, ENCODER.space, lambda: ENCODER)
    steps: list[tuple[int, int]] = []
    found = compare(pictures, sets, texts, backend, against=1, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert found.against == "first 2"
    verdicts = [right(pictures, prompts) for prompts in sets]
    for row, prompts, mine in zip(found.sets, sets, verdicts, strict=True):
        assert (row.name, row.n_templates) == (prompts.templates_source, len(prompts.templates))
        assert row.n_prompts == 4 * len(prompts.templates), "equal names have equal prompts"
        assert (row.share.n_correct, row.share.n) == (mine.sum(), 400)
        assert row.share.interval == wilson(int(mine.sum()), 400)
    assert found.sets[1].difference is None
    assert found.sets[0].difference == paired_difference(verdicts[1], verdicts[0])
    assert found.sets[2].difference == paired_difference(verdicts[1], verdicts[2])
    assert len({row.share.n_correct for row in found.sets}) > 1
    assert found.pictures.n_scored == 400
    assert (found.pictures.n_classes, found.pictures.n_classes_scored) == (5, 5)


def test_each_template_alone_and_left_out(pictures: Labelled, backend: IndexBackend) -> None:
    prompts = prompt_set()
    found = rank(pictures, prompts, encode_prompts([prompts], ENCODER.space, lambda: ENCODER), backend)
    every = right(pictures, prompts)
    assert found.together.n_correct == every.sum()
    scores = [row.alone.n_correct for row in found.templates]
    assert scores == sorted(scores, reverse=True)
    assert sorted(row.template for row in found.templates) == sorted(TEMPLATES)
    for row in found.templates:
        assert row.alone.n_correct == right(pictures, prompt_set(templates=[row.template])).sum()
        without = right(pictures, prompt_set(templates=[t for t in TEMPLATES if t != row.template]))
        assert row.left_out is not None
        assert row.left_out.n_correct == without.sum()
        assert row.adds == paired_difference(without, every)
    assert len({row.left_out.n_correct for row in found.templates if row.left_out}) > 1


def test_a_single_template_is_left_out_of_nothing(pictures: Labelled, backend: IndexBackend) -> None:
    prompts = prompt_set(templates=["a photo of a {}."])
    texts = encode_prompts([prompts], ENCODER.space, lambda: ENCODER)
    (row,) = rank(pictures, prompts, texts, backend).templates
    assert (row.left_out, row.adds) == (None, None)
    spread = sensitivity(pictures, prompts, texts, backend)
    assert (spread.sd, spread.least) == (0.0, spread.most)


def test_the_spread_over_single_templates(pictures: Labelled, backend: IndexBackend) -> None:
    prompts = prompt_set()
    texts = encode_prompts([prompts], ENCODER.space, lambda: ENCODER)
    found = sensitivity(pictures, prompts, texts, backend)
    values = [float(right(pictures, prompt_set(templates=[t])).mean()) for t in TEMPLATES]
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.sd == pytest.approx(statistics.stdev(values))
    assert (found.least, found.most) == (min(values), max(values))
    assert found.quartiles == pytest.approx(statistics.quantiles(values, n=4, method="inclusive"))
    assert [row.alone.prec_at_1 for row in found.singles] == sorted(values, reverse=True)
    assert found.together.n_correct == right(pictures, prompts).sum()


def test_one_image_a_missing_class_and_all_wrong(backend: IndexBackend) -> None:
    prompts = prompt_set()
    texts = encode_prompts([prompts], ENCODER.space, lambda: ENCODER)
    at_second = ENCODER.encode_texts(["blue star"])
    one = compare(labelled(at_second, np.array([1]), prompts), [prompts], texts, backend)
    assert (one.sets[0].share.n_correct, one.sets[0].share.n, one.pictures.n_classes_scored) == (1, 1, 1)
    # Class 3 has the name of class 0, to which its ties go.
    twins = labelled(unit_rows(np.tile(ENCODER.encode_texts(["red circle"]), (5, 1))), np.full(5, 3), prompts)
    wrong = compare(twins, [prompts, prompt_set(templates=["{}"], source="raw")], texts, backend)
    assert [row.share.n_correct for row in wrong.sets] == [0, 0]
    difference = wrong.sets[1].difference
    assert difference is not None
    assert (difference.difference, difference.p_value) == (0.0, 1.0)
    assert difference.interval.low < 0 < difference.interval.high


def test_other_classes_are_refused(pictures: Labelled, backend: IndexBackend) -> None:
    others = prompt_set(names=[*NAMES[:4], "another"], source="others")
    texts = encode_prompts([others], ENCODER.space, lambda: ENCODER)
    with pytest.raises(ClassMappingError, match="the set 'others' is of 5 classes"):
        compare(pictures, [others], texts, backend)
    with pytest.raises(ClassMappingError):
        rank(pictures, others, texts, backend)
    with pytest.raises(ClassMappingError):
        sensitivity(pictures, others, texts, backend)
