"""Lists, counts and other libraries' errors in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsretrieve.domain.wording import apart, counted, one_line, shorten


def test_lists_are_shortened() -> None:
    assert shorten(["a", "b"], 2) == "'a', 'b'"
    assert shorten(["a", "b", "c"], 1) == "'a' and 2 more"
    assert shorten(["a", "b"], 5, "") == "a, b"


def test_one_and_many() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert counted(2, "class", "classes") == "2 classes"


def test_errors_in_one_line(tmp_path: Path) -> None:
    assert one_line(ValueError("first\n   second")) == "first second"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("long " * 100))) == 200
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "missing").read_text()
    assert one_line(caught.value) == "no such file or directory"


def test_numbers_that_differ_look_different() -> None:
    assert apart(0.5, 0.7) == ("0.500", "0.700")
    assert apart(0.64812, 0.64813) == ("0.64812", "0.64813")
    assert apart(0.5, 0.5)[0] == apart(0.5, 0.5)[1]
