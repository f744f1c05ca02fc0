"""Captions and images as pairs: who is held out, and what is in a batch."""

from __future__ import annotations

import numpy as np
import pytest

import zsretrieve as zs
from zsretrieve.training.pairs import Pairs


def pairs(n: int = 50) -> Pairs:
    return Pairs.of({10 + row: [f"one {row}", f"two {row}", "all of them"] for row in range(n)})


def test_captions_are_numbered_once() -> None:
    few = Pairs.of({4: ["a", "b", "a"], 9: ["b"]})
    assert few.captions == ("a", "b")
    assert few.rows.tolist() == [4, 9]
    assert [numbers.tolist() for numbers in few.of_image] == [[0, 1], [1]]


@pytest.mark.parametrize("captions", [{1: ["a"], 2: ["a"]}, {}])
def test_nothing_can_be_learned_from_one_caption(captions: dict[int, list[str]]) -> None:
    with pytest.raises(zs.SourceError, match="nothing to learn"):
        Pairs.of(captions)


def test_the_seed_holds_images_out() -> None:
    settings = zs.TrainingSettings(held_out=0.2, seed=5)
    train, held_out = pairs().split(settings)
    assert sorted([*train, *held_out]) == list(range(50))
    assert len(held_out) == 10
    again, _ = pairs().split(settings)
    other, _ = pairs().split(zs.TrainingSettings(held_out=0.2, seed=6))
    assert np.array_equal(train, again)
    assert not np.array_equal(train, other)
    with pytest.raises(zs.SourceError, match="too few to train on"):
        pairs(2).split(zs.TrainingSettings(held_out=0.5))


def test_an_epoch_has_every_image_once_each_with_one_of_its_captions() -> None:
    settings, some = zs.TrainingSettings(batch_size=12, held_out=0), pairs()
    images, _ = some.split(settings)
    batches = [some.batch(step, images, settings) for step in range(4)]
    rows = np.concatenate([batch.rows for batch in batches])
    assert len(rows) == len(set(rows.tolist())) == 48  # 50 leaves a batch of two, which is left out
    for batch in batches:
        for row, caption in zip(batch.rows, batch.captions, strict=True):
            assert some.captions[caption] in (f"one {row - 10}", f"two {row - 10}", "all of them")
    later = some.batch(4, images, settings)
    assert not np.array_equal(later.rows, batches[0].rows)
    assert np.array_equal(some.batch(2, images, settings).rows, batches[2].rows)


def test_equal_captions_of_a_batch_are_known() -> None:
    same = Pairs.of({0: ["a"], 1: ["b"], 2: ["a"]})
    settings = zs.TrainingSettings(batch_size=3, held_out=0)
    batch = same.batch(0, np.arange(3), settings)
    for i in range(3):
        for j in range(3):
            assert batch.same[i, j] == (i == j or {batch.rows[i], batch.rows[j]} == {0, 2})


def test_small_data_makes_small_batches() -> None:
    settings = zs.TrainingSettings(epochs=3, held_out=0)
    images, _ = pairs(20).split(settings)
    assert settings.steps_for(len(images)) == 3
    assert len(pairs(20).batch(0, images, settings).rows) == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 1, "steps": 1}, "`epochs` and `steps`"),
        ({"patience": 1, "held_out": 0}, "`patience`"),
        ({"tune": "linear", "from_scratch": True}, "needs a trained text tower"),
        ({"tune": "adapter"}, "tune must be one of 'text', 'lora', 'linear'"),
        ({"batch_size": 1}, "batch_size must be"),
        ({"lr": 0.0}, "lr must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(zs.UsageError, match=message):
        zs.TrainingSettings(**given)  # type: ignore[arg-type]
