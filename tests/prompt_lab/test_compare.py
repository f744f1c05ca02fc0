"""Figures of the lab are those that evaluation with an index of the same templates gives."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.prompting import NAMES, TEMPLATES, images_near, labelled, prompt_set
from scipy.special import expit, softmax

import zsretrieve as zs
from zsretrieve.domain.errors import ClassMappingError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.records import Head, PromptSet, ScoreHead
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.metrics import paired_difference, wilson
from zsretrieve.prompt_lab.compare import compare, rank, sensitivity
from zsretrieve.prompt_lab.prompt_vectors import encode_prompts
from zsretrieve.prompt_lab.top1 import Scorer

ENCODER = HashingEncoder()
MODEL = zs.Model.of(ENCODER)


def scorer(images: Labelled, sets: Sequence[PromptSet], backend: IndexBackend) -> Scorer:
    return Scorer(images, encode_prompts(sets, ENCODER.space, MODEL), backend)


def right(images: Labelled, prompts: PromptSet) -> np.ndarray:
    """Who is right by an index of its own."""
    index = zs.make_prototypes(prompts, ENCODER, device="cpu").prototypes.index
    found: np.ndarray = index.search(images.vectors, 1)[1][:, 0] == images.truth
    return found


@pytest.fixture(scope="module")
def images() -> Labelled:
    return images_near(ENCODER, prompt_set(), 400, seed=1)


def test_sets_side_by_side(images: Labelled, backend: IndexBackend) -> None:
    sets = [prompt_set(templates=TEMPLATES[:n], source=f"first {n}") for n in (1, 2, 6)]
    steps: list[tuple[int, int]] = []
    found = compare(scorer(images, sets, backend), sets, against=1, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert found.against == "first 2"
    correct = [right(images, prompts) for prompts in sets]
    for row, prompts, own in zip(found.sets, sets, correct, strict=True):
        assert (row.name, row.n_templates) == (prompts.templates_source, len(prompts.templates))
        assert row.n_prompts == 4 * len(prompts.templates), "equal names have equal prompts"
        assert (row.score.n_correct, row.score.n) == (own.sum(), 400)
        assert row.score.interval == wilson(int(own.sum()), 400)
    assert found.sets[1].difference is None
    assert found.sets[0].difference == paired_difference(correct[1], correct[0])
    assert found.sets[2].difference == paired_difference(correct[1], correct[2])
    assert len({row.score.n_correct for row in found.sets}) > 1
    assert found.images.n_scored == 400
    assert (found.images.n_classes, found.images.n_classes_scored) == (5, 5)


@pytest.mark.parametrize("head", [Head(ScoreHead.SOFTMAX, 25.0), Head(ScoreHead.SIGMOID, 25.0, -8.0)])
def test_probabilities_are_averaged_beside_vectors(images: Labelled, backend: IndexBackend, head: Head) -> None:
    sets = [prompt_set(templates=TEMPLATES[:n], source=f"first {n}") for n in (6, 1)]
    found = compare(scorer(images, sets, backend), sets, head=head)
    assert [(row.name, row.pooled) for row in found.sets] == [
        ("first 6", "vectors"), ("first 1", "vectors"), ("first 6", "probabilities"),
    ]  # fmt: skip
    total = np.zeros((400, 5))
    for template in TEMPLATES:
        classes = ENCODER.encode_texts([template.replace("{}", name) for name in NAMES])
        logits = head.scale * images.vectors.astype(np.float64) @ classes.astype(np.float64).T + head.bias
        total += softmax(logits, axis=1) if head.kind is ScoreHead.SOFTMAX else expit(logits)
    # Two classes of one name tie in exact arithmetic, where the first wins.
    total[:, 3] -= 1e-6
    expected = total.argmax(axis=1) == images.truth
    row = found.sets[2]
    assert row.score.n_correct == expected.sum()
    assert row.difference == paired_difference(right(images, sets[0]), expected)
    assert (expected != right(images, sets[0])).any(), "the two differ on these images"


def test_each_template_alone_and_left_out(images: Labelled, backend: IndexBackend) -> None:
    prompts = prompt_set()
    found = rank(scorer(images, [prompts], backend), prompts)
    every = right(images, prompts)
    assert found.together.n_correct == every.sum()
    scores = [row.alone.n_correct for row in found.templates]
    assert scores == sorted(scores, reverse=True)
    assert sorted(row.template for row in found.templates) == sorted(TEMPLATES)
    for row in found.templates:
        assert row.alone.n_correct == right(images, prompt_set(templates=[row.template])).sum()
        without = right(images, prompt_set(templates=[t for t in TEMPLATES if t != row.template]))
        assert row.left_out is not None
        assert row.left_out.n_correct == without.sum()
        assert row.adds == paired_difference(without, every)
    assert len({row.left_out.n_correct for row in found.templates if row.left_out}) > 1


def test_a_single_template_is_left_out_of_nothing(images: Labelled, backend: IndexBackend) -> None:
    prompts = prompt_set(templates=["a photo of a {}."])
    (row,) = rank(scorer(images, [prompts], backend), prompts).templates
    assert (row.left_out, row.adds) == (None, None)
    spread = sensitivity(scorer(images, [prompts], backend), prompts)
    assert (spread.sd, spread.least) == (0.0, spread.most)


def test_the_spread_over_single_templates(images: Labelled, backend: IndexBackend) -> None:
    prompts = prompt_set()
    found = sensitivity(scorer(images, [prompts], backend), prompts)
    values = [float(right(images, prompt_set(templates=[t])).mean()) for t in TEMPLATES]
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.sd == pytest.approx(statistics.stdev(values))
    assert (found.least, found.most) == (min(values), max(values))
    assert found.quartiles == pytest.approx(statistics.quantiles(values, n=4, method="inclusive"))
    assert [row.alone.prec_at_1 for row in found.singles] == sorted(values, reverse=True)
    assert found.together.n_correct == right(images, prompts).sum()


def test_one_image_a_missing_class_and_all_wrong(backend: IndexBackend) -> None:
    prompts = prompt_set()
    at_second = ENCODER.encode_texts(["blue star"])
    one = compare(scorer(labelled(at_second, np.array([1]), prompts), [prompts], backend), [prompts])
    assert (one.sets[0].score.n_correct, one.sets[0].score.n, one.images.n_classes_scored) == (1, 1, 1)
    # Class 3 has the name of class 0, to which its ties go.
    twins = labelled(unit_rows(np.tile(ENCODER.encode_texts(["red circle"]), (5, 1))), np.full(5, 3), prompts)
    sets = [prompts, prompt_set(templates=["{}"], source="raw")]
    wrong = compare(scorer(twins, sets, backend), sets)
    assert [row.score.n_correct for row in wrong.sets] == [0, 0]
    difference = wrong.sets[1].difference
    assert difference is not None
    assert (difference.difference, difference.p_value) == (0.0, 1.0)
    assert difference.interval.low < 0 < difference.interval.high


def test_other_classes_are_refused(images: Labelled, backend: IndexBackend) -> None:
    others = prompt_set(names=[*NAMES[:4], "another"], source="others")
    with pytest.raises(ClassMappingError, match="the set 'others' has the 5 classes"):
        compare(scorer(images, [others], backend), [others])
    with pytest.raises(ClassMappingError):
        rank(scorer(images, [others], backend), others)
    with pytest.raises(ClassMappingError):
        sensitivity(scorer(images, [others], backend), others)
