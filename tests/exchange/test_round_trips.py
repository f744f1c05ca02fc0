"""What comes back is what went out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kits.folders import table
from kits.foreign import DIM, opened
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Encoding
from zsretrieve.exchange import parquet
from zsretrieve.store import manifest as manifests


def same_top(one: Path, other: Path, query: str = "a red thing") -> None:
    """The same ten hits, but where scores are so near that float16 may swap them."""
    first = zs.search(opened(one), query, HashingEncoder(), k=10)
    second = zs.search(opened(other), query, HashingEncoder(), k=10)
    np.testing.assert_allclose([hit.score for hit in first], [hit.score for hit in second], atol=1e-3)
    worst = first[-1].score
    assert {hit.path for hit in first if hit.score > worst + 2e-3} <= {hit.path for hit in second}


class TestRoundTrips:
    def test_parquet_gives_back_everything(self, gallery: Path, photos: Path, tmp_path: Path) -> None:
        assert zs.export_index(gallery, tmp_path / "out.parquet", "parquet") == 45
        built = zs.import_gallery(tmp_path / "out.parquet", tmp_path / "back", HashingEncoder())
        before, after = opened(gallery), built.gallery
        assert after.items == before.items
        assert table(after) == table(before)
        for name in ("next_id", "root", "origins", "skipped", "space", "head", "encoding", "count"):
            assert getattr(after.manifest, name) == getattr(before.manifest, name), name
        assert after.manifest.encoding.exif is False
        assert len(after.manifest.skipped) == 1
        assert zs.verify(tmp_path / "back") == []
        assert zs.search(after, "red", HashingEncoder()) == zs.search(before, "red", HashingEncoder())
        assert zs.sync(tmp_path / "back", Counting(0)).unchanged == 45, "sizes, times and digests came with it"

    def test_the_columns_that_are_promised(self, gallery: Path, tmp_path: Path) -> None:
        zs.export_index(gallery, tmp_path / "out.parquet", "parquet")
        found = pq.read_table(tmp_path / "out.parquet")
        assert found.column_names == [
            "id", "path", "label", "width", "height", "bytes", "mtime_ns", "digest", "vector",
        ]  # fmt: skip
        assert found.schema.field("vector").type == pa.list_(pa.float32(), DIM)
        assert found.column("vector")[3].as_py() == opened(gallery).vectors[3].tolist()

    def test_parquet_in_float16(self, gallery: Path, tmp_path: Path) -> None:
        zs.export_index(gallery, tmp_path / "out.parquet", "parquet", half=True)
        back = zs.import_gallery(tmp_path / "out.parquet", tmp_path / "back", HashingEncoder()).gallery
        assert back.items == opened(gallery).items
        assert back.manifest.encoding == Encoding("imported", "float16", "unknown", exif=False)
        cosines = np.einsum("nd,nd->n", back.vectors, opened(gallery).vectors)
        assert cosines.min() > 0.9999
        assert zs.verify(tmp_path / "back") == []

    def test_npy_gives_back_vectors_paths_labels_and_ids(self, plain_gallery: Path, tmp_path: Path) -> None:
        root = opened(plain_gallery).manifest.root
        assert root is not None
        assert zs.export_index(plain_gallery, tmp_path / "out", "npy") == 39
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "ids.npy", "labels.txt", "paths.txt", "vectors.npy",
        ]  # fmt: skip
        back = zs.import_gallery(tmp_path / "out", tmp_path / "back", HashingEncoder(), root=root).gallery
        assert table(back) == table(opened(plain_gallery))
        assert {(item.bytes, item.mtime_ns, item.digest) for item in back.items} == {(0, 0, "")}
        assert back.manifest.encoding == Encoding("imported", "float32", "unknown", exif=True)
        assert (back.manifest.origins, back.manifest.root) == ((), root)
        assert zs.verify(tmp_path / "back") == []

        files = {"paths": tmp_path / "out" / "paths.txt", "labels": tmp_path / "out" / "labels.txt"}
        one_by_one = zs.import_gallery(
            tmp_path / "out" / "vectors.npy", tmp_path / "again", HashingEncoder(), **files, root=root
        ).gallery
        assert [item.id for item in one_by_one.items] == list(range(39))
        assert np.array_equal(one_by_one.vectors, back.vectors)
        assert [item.label for item in one_by_one.items] == [item.label for item in back.items]

    def test_a_name_with_a_newline_does_not_fit_into_a_list(self, gallery: Path, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"two\\nlines") as told:
            zs.export_index(gallery, tmp_path / "out", "npy")
        assert told.value.hint is not None
        assert "`form` parquet" in told.value.hint
        assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery", "photos"]

    def test_names_that_are_no_utf_8_fit_into_a_list(self, gallery: Path, tmp_path: Path) -> None:
        zs.remove(gallery, ["*two?lines*"])
        zs.export_index(gallery, tmp_path / "out", "npy")
        root = opened(gallery).manifest.root
        back = zs.import_gallery(tmp_path / "out", tmp_path / "back", HashingEncoder(), root=root).gallery
        assert table(back) == table(opened(gallery))
        assert os.fsdecode(b"class 1/caf\xe9.png") in {item.path for item in back.items}

    def test_clip_retrieval(self, gallery: Path, tmp_path: Path) -> None:
        zs.export_index(gallery, tmp_path / "out", "clip-retrieval", part_rows=4)
        names = sorted(path.name for path in (tmp_path / "out" / "img_emb").iterdir())
        assert names == [f"img_emb_{number:02}.npy" for number in range(12)], "clip-retrieval reads them by name"
        built = zs.import_gallery(tmp_path / "out", tmp_path / "back", HashingEncoder())
        before, after = opened(gallery), built.gallery
        assert [(i.id, i.path, i.label) for i in after.items] == [(i.id, i.path, i.label) for i in before.items]
        assert (after.manifest.root, after.manifest.next_id) == (before.manifest.root, before.manifest.next_id)
        assert np.einsum("nd,nd->n", after.vectors, before.vectors).min() >= 0.9999
        same_top(gallery, tmp_path / "back")
        assert zs.verify(tmp_path / "back") == []

    def test_what_clip_retrieval_reads_of_our_folder(self, gallery: Path, tmp_path: Path) -> None:
        zs.export_index(gallery, tmp_path / "out", "clip-retrieval")
        array = np.load(tmp_path / "out" / "img_emb" / "img_emb_0.npy")
        assert (array.dtype, array.shape) == (np.float16, (45, DIM))
        found = pq.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet")
        assert found.schema.field("image_path").type == pa.string()
        before = opened(gallery)
        for item, path, caption in zip(
            before.items, found.column("image_path").to_pylist(), found.column("caption").to_pylist(), strict=True
        ):
            assert path == os.fsencode(before.path_of(item)).decode("utf-8", "backslashreplace")
            assert caption == (item.label and os.fsencode(item.label).decode("utf-8", "backslashreplace"))

    def test_prototypes(self, tmp_path: Path) -> None:
        built = zs.build_prototypes(tmp_path / "classes", "cat,dog,Bär", HashingEncoder())
        assert zs.export_index(tmp_path / "classes", tmp_path / "out", "npy") == 3
        assert np.array_equal(np.load(tmp_path / "out" / "vectors.npy"), built.prototypes.vectors)
        assert (tmp_path / "out" / "class_names.txt").read_text(encoding="utf-8") == "cat\ndog\nBär\n"
        with pytest.raises(SourceError, match="prototypes cannot be exported as parquet"):
            zs.export_index(tmp_path / "classes", tmp_path / "out.parquet", "parquet")

    def test_an_empty_gallery_goes_out_and_is_refused_on_the_way_back(
        self, plain_gallery: Path, tmp_path: Path
    ) -> None:
        zs.remove(plain_gallery, ["*"])
        for form, name in (("npy", "n"), ("parquet", "p"), ("clip-retrieval", "c")):
            assert zs.export_index(plain_gallery, tmp_path / name, form) == 0
            with pytest.raises(SourceError, match=r"no vector of .* can be used"):
                zs.import_gallery(tmp_path / name, tmp_path / "back", HashingEncoder())
        assert not (tmp_path / "back").exists()


def test_the_manifest_that_travels_says_nothing_of_files(plain_gallery: Path, tmp_path: Path) -> None:
    zs.export_index(plain_gallery, tmp_path / "x.parquet", "parquet")
    travelled = manifests.from_bytes(pq.read_schema(tmp_path / "x.parquet").metadata[parquet.MANIFEST], tmp_path)
    assert (travelled.files, travelled.segments, travelled.index) == ({}, (), None)
