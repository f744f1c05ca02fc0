"""Runs on disk come back as they were; other files and damaged runs are refused in one line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from kits.scored import random_world

from zsretrieve.domain.errors import IndexFolderError, OutputExistsError, SourceError
from zsretrieve.domain.results import Run
from zsretrieve.evaluation import run_file
from zsretrieve.evaluation.run import run_of

ODD = ("tench", "missile", "missile", "caf\udce9", 'a "b",\nc')


@pytest.fixture
def run() -> Run:
    labelled, prototypes = random_world(40, 5, names=ODD)
    found = run_of(labelled, prototypes, 3)
    paths = (os.fsdecode(b"/x/caf\xe9.png"), "/x/two\nlines.png", *found.paths[2:])
    return replace(found, paths=paths, class_keys=("n01", None, "n03", None, None), digests=("", *found.digests[1:]))


def same(one: Run, other: Run) -> None:
    for name in ("truth", "ranked", "scores", "probabilities"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)
    plain = ("paths", "digests", "class_names", "class_keys", "model", "templates")
    assert [getattr(one, name) for name in plain] == [getattr(other, name) for name in plain]


def test_a_run_comes_back_bit_by_bit(tmp_path: Path, run: Run) -> None:
    run_file.write(tmp_path / "deep" / "a.run", run)
    same(run_file.read(tmp_path / "deep" / "a.run"), run)
    assert os.listdir(tmp_path / "deep") == ["a.run"]
    # Once more with one class and one image, and in several groups of rows as another writer makes them.
    labelled, prototypes = random_world(1, 1)
    run_file.write(tmp_path / "one.run", run_of(labelled, prototypes, 1))
    assert run_file.read(tmp_path / "one.run").ranked.tolist() == [[0]]
    pq.write_table(pq.read_table(tmp_path / "deep" / "a.run"), tmp_path / "groups.run", row_group_size=7)
    same(run_file.read(tmp_path / "groups.run"), run)


def test_other_programs_read_its_columns(tmp_path: Path, run: Run) -> None:
    run_file.write(tmp_path / "a.run", run)
    rows = pq.read_table(tmp_path / "a.run").to_pylist()
    assert list(rows[0]) == [
        "path", "digest", "truth", "truth_name", "predicted", "score", "probability", "margin"
    ]  # fmt: skip
    assert rows[0]["path"] == b"/x/caf\xe9.png"
    for row, found in enumerate(rows):
        assert (found["truth"], found["predicted"]) == (run.truth[row], run.ranked[row].tolist())
        assert found["truth_name"] == run.class_names[run.truth[row]].replace("\udce9", "\\udce9")
        assert found["margin"] == run.margins[row]


def test_what_is_there_is_replaced_only_by_force_and_only_a_run(tmp_path: Path, run: Run) -> None:
    run_file.write(tmp_path / "a.run", run)
    before = (tmp_path / "a.run").read_bytes()
    with pytest.raises(OutputExistsError, match="there is already a run at"):
        run_file.write(tmp_path / "a.run", run)
    assert (tmp_path / "a.run").read_bytes() == before
    run_file.write(tmp_path / "a.run", replace(run, model="another"), force=True)
    assert run_file.read(tmp_path / "a.run").model == "another"
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists and is not a run of this form"):
        run_file.write(tmp_path / "notes", run, force=True)
    with pytest.raises(IndexFolderError, match="the run cannot be written to"):
        run_file.write(tmp_path / "notes" / "a.run", run)
    assert (tmp_path / "notes").read_text() == "mine"


def test_what_is_no_run_is_refused(tmp_path: Path, run: Run) -> None:
    run_file.write(tmp_path / "a.run", run)
    table = pq.read_table(tmp_path / "a.run")
    raw = json.loads(table.schema.metadata[run_file.RUN])

    def saved(**changed: object) -> Path:
        content = {**raw, **changed}
        pq.write_table(table.replace_schema_metadata({run_file.RUN: json.dumps(content).encode()}), tmp_path / "b.run")
        return tmp_path / "b.run"

    with pytest.raises(SourceError, match="has version 2; this program reads up to 1"):
        run_file.read(saved(format_version=2))
    with pytest.raises(SourceError, match="damaged: it refers to a class beyond its 2"):
        run_file.read(saved(class_names=["a", "b"], class_keys=[None, None]))
    with pytest.raises(SourceError, match="damaged: it has more class names than keys"):
        run_file.read(saved(class_keys=[]))
    with pytest.raises(SourceError, match="is damaged"):
        run_file.read(saved(format_version="x"))
    pq.write_table(table.drop_columns(["score"]), tmp_path / "b.run")
    with pytest.raises(SourceError, match="is damaged"):
        run_file.read(tmp_path / "b.run")
    pq.write_table(table.slice(0, 0), tmp_path / "b.run")
    with pytest.raises(SourceError, match="is damaged"):
        run_file.read(tmp_path / "b.run")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "b.run")
    with pytest.raises(SourceError, match="is not a saved run"):
        run_file.read(tmp_path / "b.run")
    (tmp_path / "b.run").write_bytes((tmp_path / "a.run").read_bytes()[:-9])
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        run_file.read(tmp_path / "b.run")
    with pytest.raises(SourceError, match="there is no file"):
        run_file.read(tmp_path / "nothing.run")
