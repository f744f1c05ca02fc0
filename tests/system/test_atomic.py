"""Files and folders are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kits.folders import contents

from zsretrieve.domain.errors import IndexFolderError, OutputExistsError
from zsretrieve.system import atomic

FILE = atomic.OutputKind(is_folder=False, is_ours=lambda path: path.read_bytes().startswith(b"ours"), name="export")


def _fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_is_replaced(tmp_path: Path) -> None:
    for content in (b"one", b"another"):
        atomic.write_file(tmp_path / "file", content)
        assert contents(tmp_path) == {"file": content}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic.write_file(tmp_path / "file", b"old")
    monkeypatch.setattr(os, step, _fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_file(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"old"}


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    for number in range(2):
        part = atomic.beside(tmp_path / "folder")
        (part / "deep").mkdir(parents=True)
        (part / "deep" / f"{number}").write_bytes(b"")
        atomic.put(part, tmp_path / "folder")
        assert contents(tmp_path) == {f"folder/deep/{number}": b""}


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(b"")
    part = atomic.beside(tmp_path / "folder")
    part.mkdir()
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda old, new: _fail() if old == part else rename(old, new))
    with pytest.raises(OSError, match="No space left"):
        atomic.put(part, tmp_path / "folder")
    atomic.remove(part)
    assert contents(tmp_path) == {"folder/old": b""}


def test_only_an_output_of_its_kind_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with atomic.replacing(out, FILE, force=False) as part:
        part.write_bytes(b"ours: one")
    with pytest.raises(OutputExistsError, match="there is already an export"), atomic.replacing(out, FILE, force=False):
        pass
    with atomic.replacing(out, FILE, force=True) as part:
        part.write_bytes(b"theirs")
    with pytest.raises(OutputExistsError, match="is not an export"), atomic.replacing(out, FILE, force=True):
        pass
    assert contents(tmp_path) == {"new/out": b"theirs"}


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with atomic.replacing(tmp_path / "new" / "out", FILE, force=False) as part:
            part.write_bytes(b"half")
            _fail()

    with pytest.raises(IndexFolderError, match="No space left"):
        write()
    assert list(tmp_path.iterdir()) == []
