"""Which pictures train and which are scored."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.exact_index import NumpyBackend
from kits.labelled import clusters, labelled

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Encoding, Head, ScoreHead
from zsretrieve.domain.shots import Shots
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.splits import (
    draw,
    drawn_digests,
    first,
    held_out,
    identities,
    repeated,
    without,
    without_drawn,
)
from zsretrieve.prototypes.images import TrainedPrototypes, TrainingImages, image_prototypes

HEAD, ENCODING = Head(ScoreHead.SOFTMAX, 10.0), Encoding("numpy", "fp64", "cpu")


def of(some: Labelled, *, shots: int | None = None, seed: int = 0, allow_fewer: bool = False) -> TrainedPrototypes:
    images = TrainingImages(some, HEAD, ENCODING, "here")
    return image_prototypes(images, Shots(shots, seed, allow_fewer), NumpyBackend())


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def known(some: Labelled) -> set[bytes]:
    return {row.tobytes() for row in identities(some)}


def test_as_many_of_each_class_as_asked() -> None:
    some = labelled(*clusters(5, 8))
    drawn = draw(some, 3, seed=4)
    assert len(set(drawn.rows.tolist())) == 15
    assert np.bincount(some.truth[drawn.rows]).tolist() == [3] * 5
    assert (drawn.fewer, drawn.empty) == ((), ())
    assert sorted(draw(some, None, seed=4).rows.tolist()) == list(range(40))


def test_the_order_of_the_gallery_does_not_matter() -> None:
    some = labelled(*clusters(5, 8))
    shuffled = some.at(np.random.default_rng(1).permutation(40))
    one, other = draw(some, 3, seed=4).rows, draw(shuffled, 3, seed=4).rows
    assert [some.paths[row] for row in one] == [shuffled.paths[row] for row in other]
    assert of(some, shots=3).prototypes.vectors.tobytes() == of(shuffled, shots=3).prototypes.vectors.tobytes()


def test_what_else_is_there_does_not_matter_unless_it_is_drawn() -> None:
    some = labelled(*clusters(5, 20))
    drawn = draw(some, 4, seed=0).rows
    left = np.setdiff1d(np.arange(100), drawn[:1])
    again = draw(some.at(left), 4, seed=0).rows
    assert {some.paths[row] for row in drawn[1:]} < {some.at(left).paths[row] for row in again}


def test_seeds_draw_alike_and_otherwise() -> None:
    some = labelled(*clusters(5, 20))
    draws = [tuple(draw(some, 4, seed=seed).rows.tolist()) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_fewer_shots_are_among_more() -> None:
    some = labelled(*clusters(4, 16))
    most = draw(some, 8, seed=2).rows
    for shots in (1, 2, 4, 8):
        assert first(some, most, shots).tolist() == draw(some, shots, seed=2).rows.tolist()


def test_every_picture_is_drawn_equally_often() -> None:
    """A chi-square test of a sound draw passes 9999 of 10,000 times; the seeds are fixed."""
    from scipy.stats import chisquare

    some = labelled(*clusters(2, 10))
    counts = np.zeros(20)
    for seed in range(300):
        counts[draw(some, 3, seed).rows] += 1
    assert chisquare(counts).pvalue > 1e-4


def test_equal_pictures_count_once() -> None:
    vectors, truth = clusters(2, 4)
    names = [digest("a"), digest("a"), digest("b"), digest("c"), *map(digest, "defg")]
    some = labelled(vectors, truth, names)
    drawn = draw(some, 3, seed=0).rows
    assert len({some.items[row].digest for row in drawn}) == 6
    assert 1 not in drawn, "of equal pictures the one of the least path is taken"
    with pytest.raises(SourceError, match=r"1 class has fewer than 4 different images: 'c0' \(3\)") as caught:
        draw(some, 4, seed=0)
    assert caught.value.hint is not None
    assert "3 or fewer" in caught.value.hint
    assert "`allow_fewer`" in caught.value.hint
    drawn_of_fewer = draw(some, 4, seed=0, allow_fewer=True)
    assert len(drawn_of_fewer.rows) == 7
    assert drawn_of_fewer.fewer == ("c0",)


def test_a_class_without_images_is_named() -> None:
    vectors, _ = clusters(3, 4)
    some = labelled(vectors, [0] * 6 + [3] * 6)
    for allow in (False, True):
        with pytest.raises(SourceError, match="2 classes have no image to train on: 'c1', 'c2'"):
            draw(some, 2, seed=0, allow_fewer=allow)
    assert draw(some, 2, seed=0, fill=True).empty == (1, 2)
    with pytest.raises(SourceError, match="at least 1 shot, got 0"):
        draw(some, 0, seed=0)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15)), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_no_picture_stands_on_both_sides(pictures: list[tuple[int, int]], share: float) -> None:
    vectors = np.tile(np.eye(1, 4, dtype=np.float32), (len(pictures), 1))
    some = labelled(vectors, [c for c, _ in pictures], [digest(str(name)) for _, name in pictures])
    train, test = held_out(some, share)
    assert not known(train) & known(test)
    assert len(train.truth) + len(test.truth) == len(pictures)
    names: dict[int, set[int]] = {}
    for c, name in pictures:
        names.setdefault(c, set()).add(name)
    for c, own in names.items():
        shared = {name for other in names if other != c for name in names[other]} & own
        if len(own) > 1 and not shared:
            assert c in train.truth
            assert c in test.truth
    assert repeated(some).tolist() == [
        sum(name == other for _, other in pictures) > 1 for _, name in pictures
    ]  # fmt: skip


def test_what_is_held_out_is_the_same_whatever_the_order() -> None:
    some = labelled(*clusters(5, 8))
    shuffled = some.at(np.random.default_rng(3).permutation(40))
    assert known(held_out(some, 0.5)[1]) == known(held_out(shuffled, 0.5)[1])
    assert np.bincount(held_out(some, 0.5)[1].truth).tolist() == [4] * 5


def test_images_that_trained_are_left_out_under_any_name() -> None:
    vectors, truth = clusters(3, 6)
    names = [digest(str(row)) for row in range(18)]
    made = of(labelled(vectors, truth, names), shots=2)
    drawn = draw(labelled(vectors, truth, names), 2, seed=0).rows
    names[17 if 17 not in drawn else 16] = names[drawn[0]]  # a copy of a picture that trained
    some = labelled(vectors, truth, names)
    kept = without_drawn(some, made.prototypes)
    assert kept.n_drawn == 7
    assert len(kept.truth) == 11
    assert not {item.digest for item in kept.items} & {names[row] for row in drawn}
    whole = without_drawn(some, made.prototypes, include=True)
    assert (whole.n_drawn, len(whole.truth), whole.shots_included) == (7, 18, True)
    with pytest.raises(SourceError, match="all 6, so none is left"):
        without_drawn(some.at(drawn), made.prototypes)


def test_where_the_digest_is_unknown_the_path_tells() -> None:
    vectors, truth = clusters(2, 5)
    some = labelled(vectors, truth, [""] * 10)
    assert len(known(some)) == 10
    made = of(some, shots=2)
    assert without_drawn(some, made.prototypes).n_drawn == 4


def test_without_others() -> None:
    some = labelled(*clusters(3, 6))
    assert without(some, some.at(np.arange(4, 18))).paths == some.paths[:4]
    assert drawn_digests(some, np.array([3, 1, 3])).shape == (2, 32)
