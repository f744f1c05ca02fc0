"""From labels to classes: names first, in any Unicode form, and numbers only where no name matches."""

from __future__ import annotations

import unicodedata

import pytest

from zsretrieve.domain.errors import ClassMappingError
from zsretrieve.domain.labels import is_by_number, map_labels
from zsretrieve.domain.prompts import duplicate_names
from zsretrieve.domain.records import PromptSet

NFC, NFD = "café", unicodedata.normalize("NFD", "café")


def classes(*names: str, keys: tuple[str | None, ...] = ()) -> PromptSet:
    return PromptSet(names, keys or (None,) * len(names), ((),) * len(names), (), "given")


@pytest.mark.parametrize(
    ("names", "labels", "ids"),
    [
        (("001", "002"), ("001", "002"), (0, 1)),
        (("001", "002"), ("1", "2"), (0, 1)),  # Excel drops the zeros
        (("7", "8"), ("007", "8"), (0, 1)),
        (("1.0", "2.0"), ("2.0", "1.0"), (1, 0)),
        (("2", "0", "1"), ("0", "1", "2"), (1, 2, 0)),
        (("red", "blue"), ("0", "1"), (0, 1)),
        (("red", "blue"), ("0.0", "1.0"), (0, 1)),  # as pandas writes numbers beside a missing one
        (("red", "blue"), ("00", "#1"), (0, 1)),
        ((NFC, "b"), (NFD, "b"), (0, 1)),
        ((NFD, "b"), (NFC.upper(), "b"), (0, 1)),
        (("red star", "b"), ("red\u00a0star", " B\u200b "), (0, 1)),
        (("red star", "b"), ("red\tstar\r\n", "\ufeffb"), (0, 1)),
    ],
)
def test_labels_and_their_classes(names: tuple[str, ...], labels: tuple[str, ...], ids: tuple[int, ...]) -> None:
    assert tuple(map_labels(labels, classes(*names)).values()) == ids


def test_folders_of_splits_are_recognised() -> None:
    for labels, is_split in ((("train", "test"), True), (("train", "cat"), False)):
        with pytest.raises(ClassMappingError) as caught:
            map_labels(labels, classes("dog", "bus"))
        assert ("a level further down" in str(caught.value.hint)) == is_split


def test_numbers_are_names_as_soon_as_one_of_them_is() -> None:
    with pytest.raises(ClassMappingError, match=r"1 of 2 labels are not classes of the prototypes: '0'"):
        map_labels(["0", "1"], classes("1", "2"))
    with pytest.raises(ClassMappingError, match="'1' could be any of '01' and '001'"):
        map_labels(["1"], classes("01", "001"))
    with pytest.raises(ClassMappingError, match="says 1, which is the name of class 0 and the number of another"):
        map_labels(["#1"], classes("001", "002"))


def test_numbers_that_count_from_1_are_refused_where_that_shows() -> None:
    with pytest.raises(ClassMappingError) as caught:
        map_labels(["1", "2", "3"], classes("a", "b", "c"))
    assert "seem to count from 1: subtract 1" in str(caught.value.hint)
    assert "from 0 ('a') to 2 ('c')" in str(caught.value.hint)


def test_which_labels_were_numbers() -> None:
    prompts = classes("red", "2", "003", keys=("n01440764", None, None))
    assert is_by_number("0", 0, prompts)
    assert is_by_number("#0", 0, prompts)
    for label, row in (("red", 0), ("2", 1), ("#2", 1), ("3", 2), ("003", 2), ("n01440764", 0)):
        assert not is_by_number(label, row, prompts), label


def test_names_of_two_forms_are_the_same_name() -> None:
    assert duplicate_names(classes(NFC, NFD)) == (NFC,)
    assert map_labels([NFD, NFC], classes("a", NFD, NFC)) == {NFD: 1, NFC: 1}
