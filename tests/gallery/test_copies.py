"""Copies of hits: under their own names, from archives too, and never over another file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Hit


def _hits(*paths: Path | str) -> list[Hit]:
    return [Hit(rank, rank, str(path), 0.5) for rank, path in enumerate(paths, 1)]


def test_copies_keep_their_names_and_overwrite_nothing(tmp_path: Path) -> None:
    for name, content in (("a/x.jpg", b"one"), ("b/x.jpg", b"two"), ("b/y", b"three")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("in/x.jpg", b"four")
    hits = _hits(tmp_path / "a/x.jpg", tmp_path / "b/x.jpg", tmp_path / "gone.jpg", tmp_path / "b/y",
                 f"{tmp_path}/z.zip!/in/x.jpg", tmp_path / "a/x.jpg")  # fmt: skip
    out = tmp_path / "new" / "out"
    for _ in range(2):
        copies, skipped = zs.copy_hits(hits, out)
        assert [copy.name for copy in copies] == ["x.jpg", "x-2.jpg", "y", "x-3.jpg"]
        assert [copy.read_bytes() for copy in copies] == [b"one", b"two", b"three", b"four"]
        assert [(one.path, one.reason) for one in skipped] == [
            (str(tmp_path / "gone.jpg"), "no such file or directory")
        ]
    assert len(list(out.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"one")
    with pytest.raises(SourceError, match="is a file, and copies go to a folder"):
        zs.copy_hits(_hits(tmp_path / "x.jpg"), tmp_path / "x.jpg")
    with pytest.raises(SourceError, match="cannot be copied"):
        zs.copy_hits(_hits(tmp_path / "x.jpg"), tmp_path / "x.jpg" / "below")
