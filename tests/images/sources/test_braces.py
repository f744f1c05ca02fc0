from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsretrieve.domain.errors import SourceError
from zsretrieve.images.sources.braces import expand, in_braces


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("train-{0000..0002}.tar", ["train-0000.tar", "train-0001.tar", "train-0002.tar"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("x{,.bak}", ["x", "x.bak"]),
        ("plain{1}.jpg", ["plain{1}.jpg"]),
        ("open{1..3", ["open{1..3"]),
        (r"quoted\{1..3\}{a,b}", ["quoted{1..3}a", "quoted{1..3}b"]),
        (r"no\braces", [r"no\braces"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


def test_braces_have_an_end() -> None:
    for pattern in ("{0..999999999}", "{0..9999}{0..9999}"):
        with pytest.raises(SourceError, match="more than 100,000"):
            expand(pattern)


@given(
    st.text("ab{},\\./ 0", min_size=1),
    st.lists(st.text("ab{},\\./ 0", min_size=1), min_size=2, max_size=4),
)
def test_what_is_put_in_braces_comes_out_again(folder: str, names: list[str]) -> None:
    assert expand(in_braces(folder, names)) == [f"{folder.rstrip('/')}/{name}" for name in names]
