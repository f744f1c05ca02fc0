"""Saved searches: what they keep, that they find what is new, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFolderError, IntegrityError, QueryError, UsageError
from zsretrieve.store.folder import repairing

SAVED = '{"format": "zsretrieve-searches", "version": 1, "searches": {"a": %s}}'
WANTED = zs.Wanted(
    k=7, offset=3, where="width > 1", dedup=True, near=0.9, min_score=-0.5, order="date", more=[1], less=(2,),
    minus=["blue"], exif=False, literal=False, explain=True,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, hashing_encoder: HashingEncoder) -> Path:
    zs.build_gallery(pictures(tmp_path / "photos", 6), tmp_path / "gallery", hashing_encoder)
    return tmp_path / "gallery"


def test_a_search_comes_back_as_it_was(folder: Path, hashing_encoder: HashingEncoder) -> None:
    picture = next((folder.parent / "photos").rglob("*.png"))
    terms = [
        zs.Term("a star", 2), zs.Term(zs.ItemId(3), -0.5, box=(0, 0.25, 1, 1)),
        zs.Term(Path(os.path.relpath(picture)), 0.3),
    ]  # fmt: skip
    gallery = zs.open_gallery(folder)
    kept = zs.save_search(gallery, "star's", terms, WANTED)
    zs.save_search(folder, "älter", "2:red + id:4 - 'a + b'")
    zs.save_search(folder, "browse")
    (browse, one, other) = zs.saved_searches(folder)
    assert [browse.name, one.name, other.name] == ["browse", "star's", "älter"]
    assert one == kept == zs.saved_search(gallery, "star's")
    assert (one.wanted.offset, one.wanted.explain, one.wanted.k, one.wanted.order) == (0, False, 7, "date")
    assert [term.label for term in one.query.terms] == ["a star", "a part of id:3", str(picture.absolute())]
    assert [term.weight for term in other.query.terms] == [2.0, 1.0, -1.0]
    assert json.loads((folder / "searches.json").read_text())["searches"]["browse"] == {
        "query": "", "terms": [], "wanted": {}
    }  # fmt: skip
    for saved, query, wanted in ((one, terms, WANTED), (other, "2:red + id:4 - 'a + b'", zs.Wanted())):
        again = zs.search(folder, saved.query, hashing_encoder, saved.wanted)
        assert again == zs.search(folder, query, hashing_encoder, zs.Wanted(**{**vars(wanted), "offset": 0}))
    zs.save_search(folder, "browse", "red")
    zs.delete_search(folder, "älter")
    assert [(saved.name, saved.query.text) for saved in zs.saved_searches(folder)] == [
        ("browse", "red"), ("star's", one.query.text)
    ]  # fmt: skip


def test_it_finds_what_was_added_and_outlives_changes(folder: Path, hashing_encoder: HashingEncoder) -> None:
    zs.save_search(folder, "all", wanted=zs.Wanted(k=100))
    shutil.copy(next((folder.parent / "photos").rglob("*.png")), folder.parent / "photos" / "new.png")
    zs.sync(folder, hashing_encoder)
    zs.compact(folder)
    saved = zs.saved_search(folder, "all")
    assert len(zs.search(folder, saved.query, hashing_encoder, saved.wanted)) == 7
    assert zs.verify(folder) == []
    zs.build_gallery(folder.parent / "photos", folder, hashing_encoder, force=True)
    assert [one.name for one in zs.saved_searches(folder)] == ["all"]
    folder.rename(folder.with_name("moved"))
    assert [one.name for one in zs.saved_searches(folder.with_name("moved"))] == ["all"]


def test_files_to_stay_away_from_are_found_from_another_folder(
    folder: Path, hashing_encoder: HashingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = next((folder.parent / "photos").rglob("*.png"))
    monkeypatch.chdir(picture.parent)
    wanted = zs.Wanted(minus=(picture.name, "blue"))
    kept = zs.save_search(folder, "not this", "red", wanted)
    expected = zs.search(folder, "red", hashing_encoder, wanted)
    monkeypatch.chdir(tmp_path)
    assert zs.saved_search(folder, "not this") == kept
    assert zs.search(folder, kept.query, hashing_encoder, kept.wanted) == expected


def test_they_outlive_a_rebuild_in_their_place(folder: Path, hashing_encoder: HashingEncoder) -> None:
    kept = zs.save_search(folder, "stars", "a star")
    (folder / ".searches.json.0123.part").write_text("what a process that was killed left")
    zs.build_gallery(folder.parent / "photos", folder, hashing_encoder, force=True)
    assert zs.saved_searches(folder) == [kept]
    assert not list(folder.glob(".searches*"))


def test_what_cannot_be_saved(folder: Path) -> None:
    for name in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(UsageError, match="cannot be the name of a search"):
            zs.save_search(folder, name, "red")
    with pytest.raises(QueryError, match="a vector cannot be saved"):
        zs.save_search(folder, "a", np.ones(32))
    with pytest.raises(QueryError, match="an image cannot be saved"):
        zs.save_search(folder, "a", np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(QueryError, match="no saved search 'a'"):
        zs.delete_search(folder, "a")
    with pytest.raises(IndexFolderError, match="is not an index"):
        zs.save_search(folder.parent, "a", "red")
    with repairing(folder), pytest.raises(IndexFolderError, match="another process is writing"):
        zs.save_search(folder, "a", "red")
    assert not (folder / "searches.json").exists()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "zsretrieve-searches", "version": 2, "searches": {}}', SAVED % "{}",
     SAVED % '{"query": "", "terms": [], "wanted": {"j": 1}}', SAVED % '{"query": "", "terms": [], "wanted": {"k": 0}}',
     SAVED % '{"query": "", "terms": [{"text": "a", "weight": 0}], "wanted": {}}'],
)  # fmt: skip
def test_a_damaged_file_is_named(folder: Path, content: str) -> None:
    (folder / "searches.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"searches\.json' does not hold saved searches"):
        zs.saved_searches(folder)
    with pytest.raises(IntegrityError):
        zs.save_search(folder, "a", "red")
    assert (folder / "searches.json").read_text() == content
