"""The fields of the client's records are those that the server describes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pydantic
import pytest

import zsretrieve as zs
from zsretrieve.client.records import ClassCount, GalleryRecord, PrototypesRecord
from zsretrieve.client.terms import body_of
from zsretrieve.domain.duplicates import Duplicate
from zsretrieve.domain.found import Matching, TermScore
from zsretrieve.domain.records import Changes, Hit, Item, Prediction
from zsretrieve.gallery.query_vectors import read_terms
from zsretrieve.web import analysis_bodies, bodies
from zsretrieve.web.bodies import SearchBody

_SHOWN = {"name", "folder", "date"}  # an image's, by which a page shows it


@pytest.mark.parametrize(
    ("record", "answer", "only_there"),
    [
        (GalleryRecord, bodies.GalleryDetailAnswer, set()),
        (PrototypesRecord, bodies.PrototypesAnswer, set()),
        (ClassCount, analysis_bodies.ClassCountAnswer, set()),
        (Changes, analysis_bodies.ChangesAnswer, set()),
        (TermScore, bodies.TermScoreAnswer, set()),
        (Matching, bodies.MatchingAnswer, {"nothing"}),
        (Prediction, bodies.ClassAnswer, set()),
        (Prediction, analysis_bodies.PredictionAnswer, {"id", "path", "label"}),
        (Hit, bodies.HitAnswer, {*_SHOWN, "label", "width", "height", "bytes", "terms"}),
        (
            Duplicate,
            analysis_bodies.DuplicateAnswer,
            {*_SHOWN, "label", "width", "height", "bytes", "missing", "text", "image"},
        ),
    ],
)
def test_records_have_the_fields_of_answers(record: Any, answer: type[pydantic.BaseModel], only_there: set) -> None:
    fields = {field.name for field in dataclasses.fields(record)}
    assert answer.model_fields.keys() - fields == only_there
    assert fields <= answer.model_fields.keys()


def test_an_item_lacks_only_what_the_client_fills_in() -> None:
    fields = {field.name for field in dataclasses.fields(Item)}
    assert fields - bodies.ItemAnswer.model_fields.keys() == {"mtime_ns", "digest"}
    assert bodies.ItemAnswer.model_fields.keys() - fields == {*_SHOWN, "missing"}


def test_a_search_has_every_field_but_the_text_which_is_sent_as_terms() -> None:
    wanted = zs.Wanted(
        k=3, offset=2, where="id > 1", dedup=True, near=0.9, min_score=-0.5, order="date", more=(1,), less=(2,),
        minus=("blue",), literal=True, explain=True,
    )  # fmt: skip
    sent = body_of(read_terms("red", wanted), wanted, "a revision", lambda _: pytest.fail("no image is sent"))
    assert SearchBody.model_fields.keys() - sent.keys() == {"query"}
    taken = SearchBody.model_validate(sent).model_dump()
    assert {key: taken[key] for key in sent if key != "terms"} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in sent.items() if key != "terms"
    }
