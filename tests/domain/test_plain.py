"""Records as JSON, and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zsretrieve.domain.duplicates import DuplicateGroup
from zsretrieve.domain.found import Matching
from zsretrieve.domain.plain import float32, rebuilt, shortest
from zsretrieve.domain.records import Prediction
from zsretrieve.domain.results import Calibration, Interval, Merged, Retrieval


@given(st.floats(-1, 1, width=32))
@example(0.7500641345977783)
@example(float(np.float32(1 / 3)))
@example(1.401298464324817e-45)
def test_a_score_keeps_every_bit_in_at_most_nine_digits(score: float) -> None:
    number = json.loads(json.dumps(shortest(score)))
    assert float32(number) == score
    assert math.copysign(1, number) == math.copysign(1, score)
    assert number in (float(f"{score:.{digits}g}") for digits in (7, 8, 9))


INTERVAL = Interval(0.1, 0.2)


@pytest.mark.parametrize(
    "record",
    [
        Matching(0.3, 0.25, None, 0.05, "measured"),
        Merged(0.5, INTERVAL, 3, ("a", "b")),
        Calibration("softmax", 100.0, 0.1, 0.2, (), 50.0, 0.1, 0.2, (), None),
        Retrieval(0.5, INTERVAL, {1: 0.5, 10: 0.25}, {1: 0.1}, ()),
    ],
)
def test_records_are_rebuilt(record: Matching | Merged | Calibration | Retrieval) -> None:
    content = json.loads(json.dumps(record.to_dict()))
    assert rebuilt(type(record), {**content, "later": 1}) == record


@pytest.mark.parametrize(
    ("kind", "content", "error"),
    [
        (Interval, {"low": 0.1}, KeyError),
        (Interval, {"low": "0.1", "high": 1}, TypeError),
        (Interval, {"low": True, "high": 1}, TypeError),
        (Interval, [0.1, 0.2], TypeError),
        (DuplicateGroup, {"kind": "other", "lowest_score": 1.0, "keep": 1, "items": []}, ValueError),
        (Prediction, {"rank": 1.5, "class_id": 1, "class_name": "a", "score": 1, "probability": 1}, TypeError),
    ],
)
def test_what_is_not_such_a_record_is_refused(kind: type[Interval], content: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        rebuilt(kind, content)


def test_strictly_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="Interval has no field 'more'"):
        rebuilt(Interval, {"low": 0.1, "high": 0.2, "more": 1}, strict=True)
