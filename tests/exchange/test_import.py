"""Which vectors become a gallery, and where it may be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.folders import contents
from kits.foreign import DIM, clip_parts, npy_with_list, opened, vectors
from kits.pictures import Counting

from zsretrieve import api
from zsretrieve.encoders.hashing import HashingEncoder
from zsretrieve.errors import (
    OutputExistsError,
    SourceError,
    SpaceMismatchError,
    ZsRetrieveError,
)


class TestNorms:
    def test_unit_rows_stay_bit_by_bit_and_nearly_unit_ones_are_made_unit(self, tmp_path: Path) -> None:
        array = vectors(20_000)
        array[7] *= np.float32(1.004)
        source, listed = npy_with_list(tmp_path / "in", array)
        back = api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed).gallery
        others = np.arange(len(array)) != 7
        assert np.array_equal(back.vectors[others], array[others])
        assert abs(np.linalg.norm(back.vectors[7].astype(np.float64)) - 1) < 1e-6
        assert len(back.manifest.segments) == 1

    @pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
    def test_other_kinds_of_numbers(self, tmp_path: Path, dtype: str) -> None:
        array = vectors(50).astype(dtype)
        source, listed = npy_with_list(tmp_path / "in", np.asfortranarray(array))
        back = api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed).gallery
        assert np.einsum("nd,nd->n", back.vectors, vectors(50)).min() > 0.9999
        assert back.manifest.encoding.precision == {"2": "float16", "4": "float32", "8": "float64"}[dtype[-1]]
        assert api.verify(tmp_path / "back") == []

    def test_a_row_that_is_no_unit_vector_is_named(self, tmp_path: Path) -> None:
        array = vectors(9000)
        array[8500] *= 3
        source, listed = npy_with_list(tmp_path / "in", array)
        with pytest.raises(SourceError, match=r"row 8500 of .* \('8500.jpg'\) has norm 3, so") as told:
            api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed)
        assert "--normalise" in str(told.value.hint)
        assert not (tmp_path / "back").exists()
        back = api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, normalise=True).gallery
        np.testing.assert_allclose(back.vectors[8500], vectors(9000)[8500], atol=1e-6)
        assert np.array_equal(back.vectors[:8500], array[:8500])

    @pytest.mark.parametrize("normalise", [False, True])
    def test_vectors_without_a_direction_are_skipped_and_ids_keep_their_place(
        self, tmp_path: Path, normalise: bool
    ) -> None:
        array = vectors(10)
        array[2], array[5, 3], array[9, 0] = 0, np.nan, np.inf
        source, listed = npy_with_list(tmp_path / "in", array)
        built = api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, normalise=normalise)
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
        assert api.verify(tmp_path / "back") == []

    def test_nothing_but_zeros(self, tmp_path: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", np.zeros((3, DIM), dtype=np.float32))
        with pytest.raises(SourceError, match=r"no vector that can be used: first '0.jpg': its vector is zero"):
            api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed)


class TestImport:
    def test_the_dims_must_agree(self, tmp_path: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        with pytest.raises(SpaceMismatchError, match="have 32 dimensions, those of 'hashing-0' 16"):
            api.import_gallery(source, tmp_path / "back", HashingEncoder(dim=16), paths=listed)

    def test_what_is_no_vectors(self, tmp_path: Path, plain_gallery: Path, photos: Path) -> None:
        (tmp_path / "x.csv").write_text("a,b\n")
        _, listed = npy_with_list(tmp_path / "in", vectors(3))
        for what, says in (
            (tmp_path / "nowhere", "there is no file or folder"),
            (tmp_path / "x.csv", "none of the kinds"),
            (photos, "none of the kinds"),
            (plain_gallery, "is an index already"),
        ):
            with pytest.raises(SourceError, match=says):
                api.open_vectors(what)
        clip_parts(tmp_path / "clip", [3])
        with pytest.raises(SourceError, match=r"--paths goes with vectors in a .npy file"):
            api.open_vectors(tmp_path / "clip", paths=listed)
        with pytest.raises(SourceError, match=r"--labels goes with vectors in a .npy file"):
            api.open_vectors(tmp_path / "clip", labels=listed)

    def test_nothing_is_overwritten_unasked(self, tmp_path: Path, plain_gallery: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        before = contents(plain_gallery)
        with pytest.raises(OutputExistsError, match="there already is an index"):
            api.import_gallery(source, plain_gallery, HashingEncoder(), paths=listed)
        assert contents(plain_gallery) == before
        for place in (tmp_path / "in", source):
            with pytest.raises(OutputExistsError):
                api.import_gallery(source, place, HashingEncoder(), paths=listed, force=True)
        api.import_gallery(source, plain_gallery, HashingEncoder(), paths=listed, force=True)
        assert len(opened(plain_gallery).items) == 3
        assert api.verify(plain_gallery) == []

    def test_an_interrupted_build_is_thrown_away_only_when_asked_to(self, tmp_path: Path, photos: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            api.build_gallery(photos, tmp_path / "back", Counting(20), checkpoint=8)
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        with pytest.raises(OutputExistsError, match="holds an interrupted build"):
            api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed)
        begun = api.interrupted_build(tmp_path / "back")
        assert begun is not None
        assert begun.count >= 8
        api.import_gallery(source, tmp_path / "back", HashingEncoder(), paths=listed, force=True)
        assert api.interrupted_build(tmp_path / "back") is None
        assert api.verify(tmp_path / "back") == []

    def test_an_import_that_is_interrupted_leaves_what_was_there(self, tmp_path: Path, plain_gallery: Path) -> None:
        source, listed = npy_with_list(tmp_path / "in", vectors(3))
        before = contents(plain_gallery)

        def interrupt(done: int, total: int) -> None:
            assert (done, total) == (3, 3)
            raise KeyboardInterrupt

        for place in (plain_gallery, tmp_path / "new" / "deep"):
            with pytest.raises(KeyboardInterrupt):
                api.import_gallery(
                    source, place, HashingEncoder(), paths=listed, force=True, on_progress=interrupt
                )  # fmt: skip
        assert contents(plain_gallery) == before
        assert not (tmp_path / "new").exists()

    def test_a_file_that_changes_while_it_is_read_is_told(self, tmp_path: Path) -> None:
        array = vectors(6)
        source, listed = npy_with_list(tmp_path / "in", array)
        found = api.open_vectors(source, paths=listed)
        for second in (array[:5], np.concatenate([array, array]), array * 0):
            runs = iter([array, second])
            changing = replace(found, blocks=lambda runs=runs: iter([next(runs)]))
            with pytest.raises(ZsRetrieveError, match=r"holds (5|12) vectors and 6 paths|changed while"):
                api.import_gallery(changing, tmp_path / "back", HashingEncoder())
            assert not (tmp_path / "back").exists()

    def test_sync_reads_imported_pictures_once_since_nothing_is_known_of_them(
        self, tmp_path: Path, plain_gallery: Path
    ) -> None:
        api.export_index(plain_gallery, tmp_path / "out", "npy")
        root = opened(plain_gallery).manifest.root
        api.import_gallery(tmp_path / "out", tmp_path / "back", HashingEncoder(), root=root)
        encoder = Counting()
        assert api.sync(tmp_path / "back", encoder).changed == 39
        assert encoder.count == 39
        assert opened(tmp_path / "back").items == opened(plain_gallery).items
        assert api.sync(tmp_path / "back", Counting(0)).unchanged == 39
