"""Two runs on the same images: which images and classes are the same, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kits.scored import digest, run_of_answers

from zsretrieve.domain.errors import ClassMappingError, SourceError
from zsretrieve.evaluation.paired import compare_runs
from zsretrieve.metrics import wilson

CLASS = st.integers(0, 2)


@given(st.lists(st.tuples(CLASS, CLASS, CLASS), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_counts_are_those_by_hand(images: list[tuple[int, int, int]], random: object) -> None:
    truth, said, other = (list(column) for column in zip(*images, strict=True))
    shuffled = list(range(len(images)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # The second run has its images in another order, and its classes too: c, a, b.
    moved = {0: 1, 1: 2, 2: 0}
    second = run_of_answers(
        [moved[other[i]] for i in shuffled], [moved[truth[i]] for i in shuffled], ("c", "a", "b"), images=shuffled
    )
    found = compare_runs(run_of_answers(said, truth), second)
    right, right_second = np.array(said) == truth, np.array(other) == truth
    n = len(images)
    assert (found.n, found.matched_by) == (n, "digest")
    assert (found.first.n_correct, found.second.n_correct) == (right.sum(), right_second.sum())
    assert found.first.interval == wilson(int(right.sum()), n)
    assert found.difference.difference == pytest.approx(right_second.mean() - right.mean())
    assert found.both_right == (right & right_second).sum()
    assert found.both_right + found.both_wrong + found.difference.only_first + found.difference.only_second == n
    names = ("a", "b", "c")
    assert [(f.path, f.true_class, f.first_class, f.second_class, f.won) for f in found.flips] == [
        (f"/x/{i}.png", names[truth[i]], names[said[i]], names[other[i]], bool(right_second[i]))
        for i in range(n)
        if right[i] != right_second[i]
    ]
    changes = {}
    for c in set(truth):
        mine = np.array(truth) == c
        changes[names[c]] = (int(mine.sum()), int(right[mine].sum()), int(right_second[mine].sum()))
    won = {name: counts for name, counts in changes.items() if counts[2] > counts[1]}
    lost = {name: counts for name, counts in changes.items() if counts[2] < counts[1]}
    assert {one.class_name: (one.n, one.first_correct, one.second_correct) for one in found.won} == won
    assert {one.class_name: (one.n, one.first_correct, one.second_correct) for one in found.lost} == lost
    assert found.n_unchanged == len(changes) - len(won) - len(lost)
    assert [one.change for one in found.won] == sorted((one.change for one in found.won), reverse=True)
    assert [one.change for one in found.lost] == sorted(one.change for one in found.lost)


def test_images_of_one_run_alone_are_counted_and_left_out() -> None:
    first = run_of_answers([0, 0, 0], [0, 0, 1], images=(1, 2, 3))
    second = run_of_answers([1, 1, 0, 0, 1], [0, 1, 0, 0, 0], images=(9, 3, 2, 8, 7))
    found = compare_runs(first, second)
    assert (found.n, found.first.n_left_out, found.second.n_left_out) == (2, 1, 3)
    assert (found.first.n_correct, found.second.n_correct) == (1, 2)
    with pytest.raises(SourceError, match="no image in common, compared by content"):
        compare_runs(first, run_of_answers([0], [0], images=(5,)))


def test_paths_are_compared_where_a_digest_is_unknown() -> None:
    first, second = run_of_answers([0, 1], [0, 1]), run_of_answers([1, 1], [0, 1], digests=False)
    assert compare_runs(first, second).matched_by == "path"
    assert [flip.path for flip in compare_runs(first, second).flips] == ["/x/0.png"]


def test_equal_files_are_paired_by_their_paths() -> None:
    first, second = (run_of_answers(said, [0, 1], images=order) for said, order in (([0, 0], (4, 5)), ([0, 0], (5, 4))))
    for run, truth in ((first, [0, 1]), (second, [1, 0])):
        object.__setattr__(run, "digests", (digest("one"),) * 2)
        object.__setattr__(run, "truth", np.array(truth))
    found = compare_runs(first, second)
    assert (found.n, found.both_right, found.both_wrong) == (2, 1, 1)


def test_classes_are_matched_by_key_before_name() -> None:
    first = run_of_answers([0, 1], [0, 1], ("crane", "crane"), keys=("n02012849", "n03126707"))
    second = run_of_answers([1, 1], [1, 0], ("crane machine", "crane bird"), keys=("n03126707", "n02012849"))
    found = compare_runs(first, second)
    assert (found.both_right, found.difference.only_first) == (1, 1)
    assert [one.class_id for one in found.lost] == [1]


def test_the_second_of_a_name_goes_with_the_second() -> None:
    first = run_of_answers([0, 1], [0, 1], ("crane", "crane", "a"))
    second = run_of_answers([1, 2], [1, 2], ("a", "crane", "crane"))
    assert compare_runs(first, second).both_right == 2


def test_other_classes_and_other_labels_are_refused() -> None:
    first = run_of_answers([0, 1], [0, 1])
    with pytest.raises(
        ClassMappingError, match=r"different classes: 1 only in the first \('c'\) and 2 only in the sec"
    ):
        compare_runs(first, run_of_answers([0], [0], ("a", "b", "d", "e")))
    with pytest.raises(ClassMappingError, match=r"disagree about the class of 1 of 2 images.* '/x/1.png': 'b' and 'c'"):
        compare_runs(first, run_of_answers([0, 1], [0, 2]))


def test_class_names_match_in_both_unicode_forms() -> None:
    first = run_of_answers([0, 1], [0, 1], ("caf\u00e9", "b"))
    second = run_of_answers([1, 1], [1, 0], ("b", "cafe\u0301"))
    assert compare_runs(first, second).difference.only_first == 1
