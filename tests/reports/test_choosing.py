"""Which images are shown, counted by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.runs import report_of, run_of
from sklearn.metrics import confusion_matrix as reference_matrix

from zsretrieve.domain.results import Run
from zsretrieve.reports.choosing import choose, confusion_matrix, most_confused

NAMES = ("ant", "bee", "cat", "dog", "eel")


@st.composite
def runs(draw: st.DrawFn) -> Run:
    n = draw(st.integers(1, 60))
    of_class = st.lists(st.integers(0, len(NAMES) - 1), min_size=n, max_size=n)
    # Few values, so that many are equal.
    sure = draw(st.lists(st.sampled_from([0.2, 0.5, 0.5000001, 1.0]), min_size=n, max_size=n))
    return run_of(draw(of_class), draw(of_class), NAMES, sure)


@given(runs(), st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_mistakes_are_the_surest_wrong_ones_and_hits_the_least_sure_right_ones(run: Run, images: int) -> None:
    choice = choose(report_of(run), images)
    sure = run.probabilities[:, 0]
    wrong, right = np.flatnonzero(~run.correct), np.flatnonzero(run.correct)
    assert list(choice.mistakes) == sorted(wrong, key=lambda row: (-sure[row], row))[: images * 3 // 10]
    assert list(choice.hits) == sorted(right, key=lambda row: (sure[row], -row))[: images * 2 // 10]
    assert len(choice.rows) <= images
    assert len(set(choice.rows)) == len(choice.rows)


@given(runs())
@settings(max_examples=60, deadline=None)
def test_both_sides_of_a_confusion_are_what_they_are_said_to_be(run: Run) -> None:
    report = report_of(run)
    pairs = choose(report, 120).pairs
    assert [pair.confusion for pair in pairs] == list(report.confusions[:10])
    for pair in pairs:
        confusion = pair.confusion
        taken = (run.truth == confusion.true_id) & (run.ranked[:, 0] == confusion.predicted_id)
        assert len(pair.taken) == min(3, confusion.count) == min(3, taken.sum())
        assert all(taken[row] for row in pair.taken)
        others = run.truth == confusion.predicted_id
        rightly = others & run.correct
        assert len(pair.of_other) == min(3, (rightly if rightly.any() else others).sum())
        assert all((rightly if rightly.any() else others)[row] for row in pair.of_other)


def test_a_run_without_mistakes_shows_hits_alone() -> None:
    run = run_of([0, 1, 1], [0, 1, 1], NAMES, [0.9, 0.8, 0.7])
    choice = choose(report_of(run), 10)
    assert (choice.pairs, choice.mistakes, choice.hits) == ((), (), (2, 1))


def test_a_run_without_hits_shows_no_class_that_has_no_image() -> None:
    run = run_of([0, 0, 1], [2, 2, 0], NAMES, [0.3, 0.4, 0.5])
    choice = choose(report_of(run), 40)
    assert choice.hits == ()
    assert choice.mistakes == (2, 1, 0)
    assert [(p.confusion.true_class, p.confusion.predicted_class, p.taken, p.of_other) for p in choice.pairs] == [
        ("ant", "cat", (1, 0), ()),
        ("bee", "ant", (2,), (1, 0)),  # no ant is right, so wrong ones stand for it
    ]


@given(runs())
@settings(max_examples=60, deadline=None)
def test_the_matrix_is_that_of_scikit_learn(run: Run) -> None:
    classes = (3, 0, 4)
    counts = confusion_matrix(run, classes)
    whole = reference_matrix(run.truth, run.ranked[:, 0], labels=range(len(NAMES)))
    np.testing.assert_array_equal(counts[:, :3], whole[np.ix_(classes, classes)])
    np.testing.assert_array_equal(counts.sum(axis=1), whole[list(classes)].sum(axis=1))


def test_the_most_confused_classes_stand_beside_each_other() -> None:
    run = run_of([0, 0, 0, 3, 3, 1], [4, 4, 4, 2, 2, 2], NAMES)
    assert most_confused(report_of(run), 5) == (0, 4, 3, 2, 1)
    assert most_confused(report_of(run), 3) == (0, 4)
    assert most_confused(report_of(run_of([0], [0], NAMES)), 5) == ()
