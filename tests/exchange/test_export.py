"""An export stands whole where it belongs, or not at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kits.folders import contents
from kits.foreign import clip_parts

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFolderError, OutputExistsError
from zsretrieve.system import atomic


class TestExportIsSafe:
    FORMS = (("npy", "vectors.npy"), ("clip-retrieval", "img_emb"), ("parquet", None), ("milvus", "part_0.parquet"))

    @pytest.mark.parametrize(("form", "name"), FORMS)
    def test_an_export_is_replaced_only_when_asked_to(
        self, plain_gallery: Path, tmp_path: Path, form: str, name: str | None
    ) -> None:
        out = tmp_path / "deep" / "er" / "out"
        zs.export_index(plain_gallery, out, form)
        before = contents(out) if out.is_dir() else out.read_bytes()
        with pytest.raises(OutputExistsError, match="there is already an export"):
            zs.export_index(plain_gallery, out, form)
        zs.remove(plain_gallery, ["*/0001.png"])
        assert zs.export_index(plain_gallery, out, form, force=True) == 38
        assert (contents(out) if out.is_dir() else out.read_bytes()) != before
        assert [path.name for path in out.parent.iterdir()] == ["out"]

    @pytest.mark.parametrize(("form", "name"), FORMS)
    def test_what_is_not_ours_is_never_touched(
        self, plain_gallery: Path, tmp_path: Path, form: str, name: str | None
    ) -> None:
        export = tmp_path / "export"
        zs.export_index(plain_gallery, export, form)
        if name is not None:
            (export / "notes.txt").write_text("mine")
        else:
            pq.write_table(pa.table({"a": [1]}), export)
        (tmp_path / "file").write_text("mine")
        clip_parts(tmp_path / "clip", [3])
        (tmp_path / "linked").symlink_to(tmp_path / "nowhere")
        mine = [
            export,
            tmp_path / "file",
            tmp_path / "clip",
            plain_gallery,
            tmp_path / "plain photos",
            tmp_path / "linked",
        ]
        before = contents(tmp_path)
        for place in mine:
            with pytest.raises(OutputExistsError, match="is not an export of this form, so it is left alone"):
                zs.export_index(plain_gallery, place, form, force=True)
        assert contents(tmp_path) == before

    def test_an_empty_folder_is_no_obstacle_to_a_folder(self, plain_gallery: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(OutputExistsError):
            zs.export_index(plain_gallery, tmp_path / "out", "parquet", force=True)
        zs.export_index(plain_gallery, tmp_path / "out", "npy")
        assert len(zs.open_vectors(tmp_path / "out").items) == 39

    @pytest.mark.parametrize(("form", "name"), FORMS)
    @pytest.mark.parametrize("what", [KeyboardInterrupt(), OSError(28, "No space left on device")])
    def test_an_export_that_fails_leaves_what_was_there(
        self, plain_gallery: Path, tmp_path: Path, form: str, name: str | None, what: BaseException,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        zs.export_index(plain_gallery, tmp_path / "old", form)
        before = contents(tmp_path)

        def stop(path: Path) -> None:
            raise what

        monkeypatch.setattr(atomic, "sync", stop)
        for place in (tmp_path / "old", tmp_path / "new" / "deep"):
            with pytest.raises(type(what) if isinstance(what, KeyboardInterrupt) else IndexFolderError):
                zs.export_index(plain_gallery, place, form, force=True)
        assert contents(tmp_path) == before
        assert not (tmp_path / "new").exists()

    def test_a_folder_that_may_not_be_written(self, plain_gallery: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(IndexFolderError, match="the export cannot be written to"):
            zs.export_index(plain_gallery, tmp_path / "file" / "out", "npy")
