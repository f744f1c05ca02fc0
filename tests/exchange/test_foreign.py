"""Files of others: what is read, and what is told of those that cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kits.foreign import clip_parts, npy_with_list, opened, vectors
from kits.hashing_encoder import HashingEncoder
from kits.images import picture
from kits.pictures import Counting
from numpy.typing import NDArray

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFormatError, SourceError, SpaceMismatchError, ZsRetrieveError
from zsretrieve.domain.records import Encoding
from zsretrieve.exchange import parquet


def text(query: str) -> NDArray[np.float32]:
    return HashingEncoder().encode_texts([query])[0]


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_ids_leave_room_for_later_ones(tmp_path: Path, kind: str) -> None:
    rows = vectors(2)
    for last in (2**62 - 1, 2**62, 2**63 - 1):
        out = tmp_path / f"{kind}-{last}"
        if kind == "npy":
            out.mkdir()
            np.save(out / "vectors.npy", rows)
            np.save(out / "ids.npy", np.array([5, last]))
            (out / "paths.txt").write_text("a.png\nb.png\n")
        else:
            pq.write_table(pa.table({"path": ["a.png", "b.png"], "vector": list(rows), "id": [5, last]}), out)
        if last >= 2**62:
            with pytest.raises(SourceError, match="IDs must be below 4611686018427387904"):
                zs.open_vectors(out)
            continue
        zs.import_gallery(zs.open_vectors(out), tmp_path / "g", HashingEncoder(), root=tmp_path)
        assert zs.add(tmp_path / "g", picture(tmp_path / "new.png"), HashingEncoder()).added == 1


class TestClipRetrieval:
    @pytest.mark.parametrize("names", [str, "{:02}".format], ids=["bare", "padded"])
    def test_twelve_parts_in_the_order_of_their_numbers(self, tmp_path: Path, names: Callable[[int], str]) -> None:
        sizes = [5, 3, 4, 1, 2, 6, 3, 2, 1, 4, 5, 2]
        array = clip_parts(tmp_path / "clip", sizes, names=names)
        found = zs.open_vectors(tmp_path / "clip")
        assert found.notes == ("text_emb/ is ignored: a gallery holds images",)
        back = zs.import_gallery(found, tmp_path / "back", HashingEncoder(), root=tmp_path).gallery
        wanted = [f"shots/{number}-{row}.jpg" for number, size in enumerate(sizes) for row in range(size)]
        assert [item.path for item in back.items] == wanted
        assert [item.id for item in back.items] == list(range(sum(sizes)))
        assert {item.label for item in back.items} == {None}, "a caption is no label"
        assert np.einsum("nd,nd->n", back.vectors, array.astype(np.float32)).min() > 0.999
        np.testing.assert_allclose(np.linalg.norm(back.vectors.astype(np.float64), axis=1), 1, atol=1e-6)
        assert back.manifest.encoding == Encoding("imported", "float16", "unknown", exif=True)
        assert zs.verify(tmp_path / "back") == []
        hits = zs.search(back, "anything", HashingEncoder(), k=3)
        assert hits[0].path == str(tmp_path / back.items[int(np.argmax(back.vectors @ text("anything")))].path)

    def test_a_number_may_be_missing_but_not_one_of_the_two(self, tmp_path: Path) -> None:
        clip_parts(tmp_path / "clip", [3, 3, 3])
        (tmp_path / "clip" / "img_emb" / "img_emb_1.npy").unlink()
        with pytest.raises(
            SourceError, match=r"metadata_1.parquet' has no vectors .* 2 parts of vectors, 3 of metadata"
        ):
            zs.open_vectors(tmp_path / "clip")
        (tmp_path / "clip" / "metadata" / "metadata_1.parquet").unlink()
        assert len(zs.open_vectors(tmp_path / "clip").items) == 6

    def test_a_label_column_is_taken(self, tmp_path: Path) -> None:
        clip_parts(tmp_path / "clip", [3], label=7)
        assert {item.label for item in zs.open_vectors(tmp_path / "clip").items} == {"7"}

    def test_what_is_wrong_with_a_folder(self, tmp_path: Path) -> None:
        def refused(says: str) -> None:
            with pytest.raises(SourceError, match=says):
                zs.open_vectors(tmp_path / "clip")

        (tmp_path / "clip" / "img_emb").mkdir(parents=True)
        refused("metadata' cannot be read: no such file")
        (tmp_path / "clip" / "metadata").mkdir()
        refused("there is no img_emb_0.npy")
        for name in ("img_emb", "metadata"):
            (tmp_path / "clip" / name).rmdir()
        clip_parts(tmp_path / "clip", [4, 4])
        part = tmp_path / "clip" / "img_emb" / "img_emb_1.npy"
        np.save(part, vectors(3))
        refused(r"img_emb_1.npy' holds 3 vectors, but '.*metadata_1.parquet' holds 4 rows")
        np.save(part, vectors(4)[:, :7])
        refused("vectors of 7 numbers and .* of 32")
        np.save(part, vectors(4))
        np.save(part.with_name("img_emb_01.npy"), vectors(4))
        refused("two parts with the number 1")
        part.with_name("img_emb_01.npy").unlink()
        metadata = tmp_path / "clip" / "metadata" / "metadata_1.parquet"
        pq.write_table(pa.table({"caption": ["a"] * 4}), metadata)
        refused("has no column 'image_path'")
        pq.write_table(pa.table({"image_path": ["a", "b", None, "d"]}), metadata)
        refused("row 6 of .* has no path")
        metadata.write_bytes(b"PAR1 nothing")
        refused("metadata_1.parquet' cannot be read as Parquet")

    def test_parts_of_two_exports_are_not_mixed(self, plain_gallery: Path, tmp_path: Path) -> None:
        clip_parts(tmp_path / "clip", [3, 39])
        zs.export_index(plain_gallery, tmp_path / "out", "clip-retrieval")
        os.replace(tmp_path / "out/metadata/metadata_0.parquet", tmp_path / "clip/metadata/metadata_1.parquet")
        with pytest.raises(SourceError, match="are of two exports"):
            zs.open_vectors(tmp_path / "clip")


class TestLists:
    def test_lines_as_editors_of_other_systems_write_them(self, tmp_path: Path) -> None:
        names = b"\xef\xbb\xbfa.jpg\r\n sp ace .jpg\r\ncaf\xe9.jpg"
        source, listed = npy_with_list(tmp_path / "in", vectors(3), names)
        labels = tmp_path / "labels.txt"
        labels.write_text("cat\n\ndog\n")
        items = zs.open_vectors(source, paths=listed, labels=labels).items
        assert [item.path for item in items] == ["a.jpg", " sp ace .jpg", os.fsdecode(b"caf\xe9.jpg")]
        assert [item.label for item in items] == ["cat", None, "dog"]

    def test_absolute_paths_below_the_root_become_relative(self, tmp_path: Path) -> None:
        names = f"{tmp_path}/a.jpg\nb.jpg\n{tmp_path}er/c.jpg\n".encode()
        source, listed = npy_with_list(tmp_path / "in", vectors(3), names)
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, root=tmp_path).gallery
        assert [item.path for item in back.items] == ["a.jpg", "b.jpg", f"{tmp_path}er/c.jpg"]
        assert [back.path_of(item) for item in back.items][1] == f"{tmp_path}/b.jpg"

    def test_the_root_is_the_current_folder_otherwise(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed).gallery
        assert back.manifest.root == str(tmp_path)

    def test_what_is_wrong_with_an_array_or_a_list(self, tmp_path: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(5))

        def refused(says: str, **more: Path) -> None:
            with pytest.raises(SourceError, match=says):
                zs.open_vectors(source, **{"paths": listed, **more})

        refused("the list '.*missing' cannot be read", paths=tmp_path / "missing")
        refused("the list '.*' cannot be read: is a directory", paths=tmp_path)
        listed.write_text("a\nb\n")
        refused("holds 5 vectors, but '.*list.txt' holds 2 paths")
        listed.write_text("a\nb\n\nd\ne\n")
        refused("row 2 of '.*list.txt' has no path")
        listed.write_text("a\nb\nc\0c\nd\ne\n")
        refused("row 2 of '.*list.txt' has a path with a zero byte")
        listed.write_text("a\nb\nc\nd\ne\n")
        (tmp_path / "labels").write_text("a\n")
        refused("holds 5 vectors, but '.*labels' holds 1 labels", labels=tmp_path / "labels")
        with pytest.raises(SourceError, match="without the paths of their images"):
            zs.open_vectors(source)
        whole = source.read_bytes()
        np.save(source, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        refused("cannot be read as an array: .*Python objects")
        np.save(source, np.arange(5))
        refused(r"holds int64 of shape \(5,\), not floating-point numbers")
        for damaged in (
            b"",
            b"\x93NUMPY",
            whole[:60],
            whole[:-1],
            b"\x93NUMPY\x01\x00\x76\x00{'descr': (((((",
            b"text",
        ):
            source.write_bytes(damaged)
            refused("cannot be read as an array")
        with open(source, "wb") as file:
            np.savez(file, a=vectors(5))
        refused("is an archive of arrays")


class TestParquet:
    def write(self, place: Path, /, **columns: Any) -> Path:
        rows = {"path": [f"{row}.jpg" for row in range(4)], "vector": vectors(4).tolist()} | columns
        pq.write_table(pa.table({name: column for name, column in rows.items() if column is not None}), place)
        return place

    def test_somebody_else_s_file(self, tmp_path: Path) -> None:
        source = self.write(
            tmp_path / "x.parquet", id=pa.array([2, 5, 6, 9], pa.uint16()), width=[1, None, 3, 4],
            label=pa.array(["a", "b", None, "a"]).dictionary_encode(),
        )  # fmt: skip
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder()).gallery
        assert [(i.id, i.path, i.label, i.width) for i in back.items] == [
            (2, "0.jpg", "a", 1), (5, "1.jpg", "b", 0), (6, "2.jpg", None, 3), (9, "3.jpg", "a", 4),
        ]  # fmt: skip
        np.testing.assert_allclose(back.vectors, vectors(4), atol=1e-7)
        assert back.manifest.encoding == Encoding("imported", "float64", "unknown", exif=True)
        assert (back.manifest.next_id, back.manifest.origins) == (10, ())
        assert zs.verify(tmp_path / "back") == []

    def test_what_is_wrong_with_a_file(self, tmp_path: Path) -> None:
        source = tmp_path / "x.parquet"

        def refused(says: str, **columns: Any) -> None:
            if columns:
                self.write(source, **columns)
            with pytest.raises(SourceError, match=says):
                zs.import_gallery(source, tmp_path / "back", HashingEncoder())
            assert not (tmp_path / "back").exists()

        refused("has no column 'path'; its columns are vector", path=None)
        refused("has no column 'vector'", vector=None)
        refused("holds list<.*string>, not lists of floating-point numbers", vector=[["a"]] * 4)
        refused("row 1 of .* has a vector of 31 numbers instead of 32", vector=[[0.1] * 32, [0.1] * 31] * 2)
        refused("row 1 of .* has no vector", vector=[[0.1] * 32, None] * 2)
        refused("row 3 of .* has a vector with nulls", vector=[[32**-0.5] * 32] * 3 + [[0.1] * 31 + [None]])
        refused("the column 'id' .* cannot be read as int64", id=["x"] * 4)
        refused("row 2 of .* has no ID", id=[1, 2, None, 4])
        refused("row 2 of .* has the ID 3 after 3", id=[1, 3, 3, 4])
        refused("row 0 of .* has the ID -1 after -1", id=[-1, 3, 4, 5])
        refused("the column 'width' .* cannot be read as int32", width=[2**40] * 4)
        refused("row 3 of .* has no path", path=["a", "b", "c", ""])
        whole = source.read_bytes()
        for damaged in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2]):
            source.write_bytes(damaged)
            refused("cannot be read as Parquet")

    def test_damaged_pages_are_told_too(self, plain_gallery: Path, tmp_path: Path) -> None:
        source = tmp_path / "x.parquet"
        zs.export_index(plain_gallery, source, "parquet")
        whole = source.read_bytes()
        outcomes = set()
        for place in range(4, len(whole) - 8, 97):
            source.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
            try:
                zs.import_gallery(source, tmp_path / "back", HashingEncoder(), force=True)
                outcomes.add("read")
            except ZsRetrieveError:
                outcomes.add("told")
        assert "told" in outcomes

    def test_a_manifest_of_another_space_or_damaged(self, plain_gallery: Path, tmp_path: Path) -> None:
        source = tmp_path / "x.parquet"
        zs.export_index(plain_gallery, source, "parquet")
        with pytest.raises(SpaceMismatchError, match=r"computed by 'hashing-0', not by 'hashing-1'.*weights") as told:
            zs.import_gallery(source, tmp_path / "back", HashingEncoder(seed=1))
        assert told.value.hint == "Give the `model` that computed them, hashing-0."
        found = pq.read_table(source)
        raw = found.schema.metadata[parquet.MANIFEST]
        for changed in (raw.replace(b'"scale"', b'"scala"'), b"{}", b"[" * 100_000):
            pq.write_table(found.replace_schema_metadata({parquet.MANIFEST: changed}), source)
            with pytest.raises(IndexFormatError, match=r"x.parquet' is (damaged|not the manifest)"):
                zs.open_vectors(source)

    def test_a_root_of_ones_own_is_where_the_pictures_lie_now(
        self, gallery: Path, photos: Path, tmp_path: Path
    ) -> None:
        zs.export_index(gallery, tmp_path / "x.parquet", "parquet")
        photos.rename(tmp_path / "moved")
        built = zs.import_gallery(
            tmp_path / "x.parquet", tmp_path / "back", HashingEncoder(), root=tmp_path / "moved", exif=True
        )
        after = built.gallery.manifest
        assert (after.root, after.origins, after.encoding.exif) == (str(tmp_path / "moved"), (), True)
        assert built.gallery.items == opened(gallery).items
        assert zs.sync(tmp_path / "back", Counting(0)).unchanged == 45
