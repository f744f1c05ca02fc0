"""Which vectors become a gallery, and where it may be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.folders import contents
from kits.foreign import DIM, clip_parts, npy_with_list, opened, vectors
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting

import zsretrieve as zs
from zsretrieve.domain.errors import OutputExistsError, SourceError, SpaceMismatchError, ZsRetrieveError
from zsretrieve.store.folder import staged


class TestNorms:
    def test_unit_rows_stay_bit_by_bit_and_nearly_unit_ones_are_made_unit(self, tmp_path: Path) -> None:
        array = vectors(20_000)
        array[7] *= np.float32(1.004)
        source, listed = npy_with_list(tmp_path / "in", array)
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed).gallery
        others = np.arange(len(array)) != 7
        assert np.array_equal(back.vectors[others], array[others])
        assert abs(np.linalg.norm(back.vectors[7].astype(np.float64)) - 1) < 1e-6
        assert len(back.manifest.segments) == 1

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_lists_of_paths_in_other_encodings(self, tmp_path: Path, encoding: str) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(2))
        listed.write_text("caf\u00e9.png\r\nb.png\r\n", encoding=encoding)
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed).gallery
        assert [item.path for item in back.items] == ["caf\u00e9.png", "b.png"]

    @pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
    def test_other_kinds_of_numbers(self, tmp_path: Path, dtype: str) -> None:
        array = vectors(50).astype(dtype)
        source, listed = npy_with_list(tmp_path / "in", np.asfortranarray(array))
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed).gallery
        assert np.einsum("nd,nd->n", back.vectors, vectors(50)).min() > 0.9999
        assert back.manifest.encoding.precision == {"2": "float16", "4": "float32", "8": "float64"}[dtype[-1]]
        assert zs.verify(tmp_path / "back") == []

    def test_a_row_that_is_no_unit_vector_is_named(self, tmp_path: Path) -> None:
        array = vectors(9000)
        array[8500] *= 3
        source, listed = npy_with_list(tmp_path / "in", array)
        with pytest.raises(SourceError, match=r"row 8500 of .* \('8500.jpg'\) has norm 3, so") as told:
            zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed)
        assert "`normalise`" in str(told.value.hint)
        assert not (tmp_path / "back").exists()
        back = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, normalise=True).gallery
        np.testing.assert_allclose(back.vectors[8500], vectors(9000)[8500], atol=1e-6)
        assert np.array_equal(back.vectors[:8500], array[:8500])

    @pytest.mark.parametrize("normalise", [False, True])
    def test_vectors_without_a_direction_are_skipped_and_ids_keep_their_place(
        self, tmp_path: Path, normalise: bool
    ) -> None:
        array = vectors(10)
        array[2], array[5, 3], array[9, 0] = 0, np.nan, np.inf
        source, listed = npy_with_list(tmp_path / "in", array)
        built = zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, normalise=normalise)
        assert [item.id for item in built.gallery.items] == [0, 1, 3, 4, 6, 7, 8]
        assert [item.path for item in built.gallery.items] == [f"{i}.jpg" for i in (0, 1, 3, 4, 6, 7, 8)]
        told = [(one.path, one.reason) for one in built.gallery.manifest.skipped]
        assert told == [
            ("2.jpg", "its vector is zero"),
            ("5.jpg", "its vector is not finite"),
            ("9.jpg", "its vector is not finite"),
        ]  # fmt: skip
        assert built.changes.skipped == built.gallery.manifest.skipped
        assert built.gallery.manifest.next_id == 10
        assert zs.verify(tmp_path / "back") == []

    def test_nothing_but_zeros(self, tmp_path: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", np.zeros((3, DIM), dtype=np.float32))
        with pytest.raises(SourceError, match=r"no vector of .* can be used: first '0.jpg': its vector is zero"):
            zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed)


class TestImport:
    def test_the_dims_must_agree(self, tmp_path: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        with pytest.raises(SpaceMismatchError, match="have 32 dimensions, those of 'hashing-0' 16"):
            zs.import_gallery(source, tmp_path / "back", HashingEncoder(dim=16), paths=listed)

    def test_what_is_no_vectors(self, tmp_path: Path, plain_gallery: Path, photos: Path) -> None:
        (tmp_path / "x.csv").write_text("a,b\n")
        _, listed = npy_with_list(tmp_path / "in", vectors(3))
        for what, says in (
            (tmp_path / "nowhere", "there is no file or folder"),
            (tmp_path / "x.csv", "not hold vectors in a format"),
            (photos, "not hold vectors in a format"),
            (plain_gallery, "is an index already"),
        ):
            with pytest.raises(SourceError, match=says):
                zs.open_vectors(what)
        clip_parts(tmp_path / "clip", [3])
        with pytest.raises(SourceError, match=r"`paths` goes with vectors in a .npy or FAISS file"):
            zs.open_vectors(tmp_path / "clip", paths=listed)
        with pytest.raises(SourceError, match=r"`labels` goes with vectors in a .npy or FAISS file"):
            zs.open_vectors(tmp_path / "clip", labels=listed)

    def test_nothing_is_overwritten_unasked(self, tmp_path: Path, plain_gallery: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        before = contents(plain_gallery)
        with pytest.raises(OutputExistsError, match="there is already an index"):
            zs.import_gallery(source, plain_gallery, HashingEncoder(), paths=listed)
        assert contents(plain_gallery) == before
        for place in (tmp_path / "in", source):
            with pytest.raises(OutputExistsError):
                zs.import_gallery(source, place, HashingEncoder(), paths=listed, force=True)
        zs.import_gallery(source, plain_gallery, HashingEncoder(), paths=listed, force=True)
        assert len(opened(plain_gallery).items) == 3
        assert zs.verify(plain_gallery) == []

    def test_an_interrupted_build_is_thrown_away_only_when_asked_to(self, tmp_path: Path, photos: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            zs.build_gallery(photos, tmp_path / "back", Counting(20), checkpoint=8)
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        with pytest.raises(OutputExistsError, match="holds an interrupted build"):
            zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed)
        begun = staged(tmp_path / "back")
        assert begun is not None
        assert begun.count >= 8
        zs.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, force=True)
        assert staged(tmp_path / "back") is None
        assert zs.verify(tmp_path / "back") == []

    def test_an_import_that_is_interrupted_leaves_what_was_there(self, tmp_path: Path, plain_gallery: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        before = contents(plain_gallery)

        def interrupt(_stage: str, done: int, total: int) -> None:
            assert (done, total) == (3, 3)
            raise KeyboardInterrupt

        for place in (plain_gallery, tmp_path / "new" / "deep"):
            with pytest.raises(KeyboardInterrupt):
                zs.import_gallery(
                    source, place, HashingEncoder(), paths=listed, force=True, on_stage=interrupt
                )  # fmt: skip
        assert contents(plain_gallery) == before
        assert not (tmp_path / "new").exists()

    def test_a_file_that_changes_while_it_is_read_is_told(self, tmp_path: Path) -> None:
        array = vectors(6)
        source, listed = npy_with_list(tmp_path / "in", array)
        found = zs.open_vectors(source, paths=listed)
        for second in (array[:5], np.concatenate([array, array]), array * 0):
            runs = iter([array, second])
            changing = replace(found, blocks=lambda runs=runs: iter([next(runs)]))
            with pytest.raises(ZsRetrieveError, match=r"holds (5|12) vectors and 6 paths|changed while"):
                zs.import_gallery(changing, tmp_path / "back", HashingEncoder())
            assert not (tmp_path / "back").exists()

    def test_sync_reads_imported_pictures_once_since_nothing_is_known_of_them(
        self, tmp_path: Path, plain_gallery: Path
    ) -> None:
        zs.export_index(plain_gallery, tmp_path / "out", "npy")
        root = opened(plain_gallery).manifest.root
        zs.import_gallery(tmp_path / "out", tmp_path / "back", HashingEncoder(), root=root)
        encoder = Counting()
        assert zs.sync(tmp_path / "back", encoder).changed == 39
        assert encoder.count == 39
        assert opened(tmp_path / "back").items == opened(plain_gallery).items
        assert zs.sync(tmp_path / "back", Counting(0)).unchanged == 39


class TestFaissFiles:
    def test_a_flat_index_and_a_list_of_paths_become_a_gallery(self, tmp_path: Path) -> None:
        array = vectors(20_000)
        faiss = pytest.importorskip("faiss")
        index = faiss.IndexFlatIP(DIM)
        index.add(array)
        faiss.write_index(index, str(tmp_path / "photos.index"))
        _, listed = npy_with_list(tmp_path / "in", array)
        back = zs.import_gallery(tmp_path / "photos.index", tmp_path / "back", HashingEncoder(), paths=listed).gallery
        assert np.array_equal(back.vectors, array)
        assert [item.path for item in back.items[:2]] == ["0.jpg", "1.jpg"]
        assert zs.verify(tmp_path / "back") == []

    def test_another_kind_of_index_and_a_cut_one_are_refused(self, tmp_path: Path) -> None:
        faiss = pytest.importorskip("faiss")
        _, listed = npy_with_list(tmp_path / "in", vectors(40))
        with pytest.raises(SourceError, match="without the paths"):
            self._open(faiss.IndexFlatIP(DIM), tmp_path, None)
        for index in (faiss.IndexFlatL2(DIM), faiss.IndexHNSWFlat(DIM, 8), faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))):
            with pytest.raises(SourceError, match=r"is not a (flat inner-product|FAISS) index") as raised:
                self._open(index, tmp_path, listed)
            assert "reconstruct_n" in str(raised.value.hint)
        (tmp_path / "x.faiss").write_bytes((tmp_path / "x.faiss").read_bytes()[:30])
        with pytest.raises(SourceError, match="not a FAISS index: it has 30 bytes"):
            zs.open_vectors(tmp_path / "x.faiss", paths=listed)

    def _open(self, index: object, folder: Path, paths: Path | None) -> None:
        import faiss

        faiss.write_index(index, str(folder / "x.faiss"))
        zs.open_vectors(folder / "x.faiss", paths=paths)
