"""Templates are chosen on one half and scored on the other, which the choice never sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.hashing_encoder import HashingEncoder
from kits.prompting import TEMPLATES, images_near, labelled, prompt_set

import zsretrieve as zs
from zsretrieve.domain.errors import ClassMappingError, PromptError, SourceError
from zsretrieve.domain.ports import IndexBackend
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import halves
from zsretrieve.metrics import paired_difference
from zsretrieve.prompt_lab.prompt_vectors import PromptVectors, encode_prompts
from zsretrieve.prompt_lab.select import select
from zsretrieve.prompt_lab.top1 import Scorer

ENCODER = HashingEncoder()
PROMPTS = prompt_set()


@pytest.fixture(scope="module")
def texts() -> PromptVectors:
    return encode_prompts([PROMPTS], ENCODER.space, zs.Model.of(ENCODER))


@pytest.fixture(scope="module")
def images() -> Labelled:
    return images_near(ENCODER, PROMPTS, 301, seed=5)


def right(images: Labelled, rows: np.ndarray, templates: list[str]) -> np.ndarray:
    index = zs.make_prototypes(prompt_set(templates=templates), ENCODER, device="cpu").prototypes.index
    found: np.ndarray = index.search(images.vectors[rows], 1)[1][:, 0] == images.truth[rows]
    return found


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(0, 1000))
def test_halves_hold_every_image_once_and_half_of_each_class(classes: list[int], seed: int) -> None:
    truth = np.array(classes, dtype=np.int64)
    of = labelled(unit_rows(np.ones((len(truth), 4))), truth, PROMPTS)
    found = halves(of, seed)
    assert sorted([*found.selecting, *found.reporting]) == list(range(len(truth)))
    assert list(found.selecting) == sorted(found.selecting)
    for c in set(classes):
        assert abs(int((truth[found.selecting] == c).sum()) - int((truth[found.reporting] == c).sum())) <= 1
    assert abs(len(found.selecting) - len(found.reporting)) <= 1
    again = halves(of, seed)
    assert (again.digests, list(again.selecting)) == (found.digests, list(found.selecting))


def test_another_seed_gives_other_halves_and_digests(images: Labelled) -> None:
    one, other = halves(images, 0), halves(images, 1)
    assert list(one.selecting) != list(other.selecting)
    assert len({*one.digests, *other.digests}) == 4


def test_equal_images_stay_in_one_half() -> None:
    truth = np.repeat(np.arange(5), 8)
    digests = [f"copy {row % 3}" if row % 8 < 4 else f"own {row}" for row in range(40)]
    of = labelled(unit_rows(np.ones((40, 4))), truth, PROMPTS, digests)
    for seed in range(5):
        found = halves(of, seed)
        assert not {digests[row] for row in found.selecting} & {digests[row] for row in found.reporting}
    unknown = labelled(unit_rows(np.ones((2, 4))), np.array([0, 0]), PROMPTS, ["", ""])
    assert len(halves(unknown).selecting) == 1, "unknown digests are not equal"


@pytest.mark.parametrize("digests", [["a"], ["a", "a"]])
def test_what_cannot_be_halved_is_refused(digests: list[str]) -> None:
    of = labelled(unit_rows(np.ones((len(digests), 4))), np.zeros(len(digests), dtype=np.int64), PROMPTS, digests)
    with pytest.raises(SourceError, match="cannot be halved"):
        halves(of)
    with pytest.raises(SourceError, match="the seed must not be negative, got -1"):
        halves(of, -1)


def test_it_takes_the_best_alone_and_then_what_helps_most(
    images: Labelled, texts: PromptVectors, backend: IndexBackend
) -> None:
    split = halves(images)
    steps: list[tuple[int, int]] = []
    found = select(Scorer(images, texts, backend), PROMPTS, split, most=4, on_progress=lambda *step: steps.append(step))
    taken: list[str] = []
    best = -1
    for _ in range(4):
        scores = {t: right(images, split.selecting, [*taken, t]).sum() for t in TEMPLATES if t not in taken}
        winner = max(scores, key=lambda t: (scores[t], -TEMPLATES.index(t)))
        if scores[winner] <= best:
            break
        best = scores[winner]
        taken.append(winner)
        assert found.steps[len(taken) - 1].score.n_correct == best
    assert list(found.templates) == taken
    assert len(taken) > 1
    assert steps[0] == (1, 6 + 5 + 4 + 3)
    chosen, every = (right(images, split.reporting, t) for t in (taken, list(TEMPLATES)))
    assert (found.chosen.n_correct, found.chosen.n) == (chosen.sum(), len(split.reporting))
    assert found.every.n_correct == every.sum()
    assert found.difference == paired_difference(every, chosen)
    assert (found.n_candidates, found.n_looked_at) == (6, len(split.selecting))


def test_it_stops_when_no_template_helps(texts: PromptVectors, backend: IndexBackend) -> None:
    first = encode_prompts([prompt_set(templates=TEMPLATES[:1])], ENCODER.space, zs.Model.of(ENCODER))
    truth = np.array([0, 0, 1, 1, 2, 2, 4, 4])
    easy = labelled(first.prototypes(prompt_set(templates=TEMPLATES[:1]))[truth], truth, PROMPTS)
    found = select(Scorer(easy, texts, backend), PROMPTS, halves(easy), most=6)
    assert len(found.templates) == 1
    assert found.steps[0].score.prec_at_1 == 1.0


@pytest.mark.parametrize("what", ["labels", "vectors"])
def test_the_selection_never_looks_at_the_half_it_reports_on(
    images: Labelled, texts: PromptVectors, backend: IndexBackend, what: str
) -> None:
    split = halves(images)

    def poisoned(rows: np.ndarray) -> Labelled:
        """Pictures for which the best answer is the worst."""
        truth, vectors = images.truth.copy(), images.vectors.copy()
        if what == "labels":
            truth[rows] = (truth[rows] + 1) % 5
        else:
            vectors[rows] *= -1
        return replace(images, truth=truth, vectors=vectors)

    plain = select(Scorer(images, texts, backend), PROMPTS, split)
    other = select(Scorer(poisoned(split.reporting), texts, backend), PROMPTS, split)
    assert other.steps == plain.steps
    assert other.chosen.n_correct != plain.chosen.n_correct
    assert other.every.n_correct != plain.every.n_correct
    # And the poison works where the selection does look.
    looked_at = select(Scorer(poisoned(split.selecting), texts, backend), PROMPTS, split)
    assert looked_at.steps != plain.steps


def test_fewer_images_are_looked_at_if_asked_for(images: Labelled, texts: PromptVectors, backend: IndexBackend) -> None:
    split = halves(images, seed=4)
    found = select(Scorer(images, texts, backend), PROMPTS, split, images=40)
    again = select(Scorer(images, texts, backend), PROMPTS, split, images=40)
    assert found.n_looked_at == found.steps[0].score.n == 40
    assert found.steps == again.steps
    assert found.chosen.n == len(split.reporting)


def test_limits_and_other_classes_are_refused(images: Labelled, texts: PromptVectors, backend: IndexBackend) -> None:
    split = halves(images)
    for limits in ({"most": 0}, {"images": 0}):
        with pytest.raises(PromptError, match="cannot choose with 0"):
            select(Scorer(images, texts, backend), PROMPTS, split, **limits)
    with pytest.raises(ClassMappingError):
        select(Scorer(images, texts, backend), prompt_set(names=("a", "b")), split)
