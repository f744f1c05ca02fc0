"""The map of a gallery: near is alike, an update leaves places alone, and no accident loses it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.folders import contents
from kits.hashing_encoder import HashingEncoder
from kits.pictures import picture, pictures

import zsretrieve as zs
from zsretrieve.domain.errors import IntegrityError, SourceError, SpaceMismatchError
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.gallery import maps as verb
from zsretrieve.gallery import projection
from zsretrieve.store import maps
from zsretrieve.store.maps import MapFile

GROUPS, EACH = 6, 30


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """Unit rows around the centres of groups; row i is of group i % GROUPS."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((GROUPS, 32))
    return unit_rows(centres[np.arange(n) % GROUPS] + 0.5 * rng.standard_normal((n, 32)))


def imported(vectors: np.ndarray, out: Path, *, encoder: HashingEncoder | None = None) -> Path:
    """A gallery of these vectors; images are named after their row and labelled by group."""
    source = out.with_name(f"{out.name}-source")
    source.mkdir(exist_ok=True)
    np.save(source / "v.npy", vectors)
    (source / "paths").write_text("".join(f"{row}.jpg\n" for row in range(len(vectors))))
    (source / "labels").write_text("".join(f"group {row % GROUPS}\n" for row in range(len(vectors))))
    found = zs.open_vectors(source / "v.npy", paths=source / "paths", labels=source / "labels")
    zs.import_gallery(found, out, encoder or HashingEncoder(), root=source, force=True)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of six groups, with its map."""
    out = imported(clustered(GROUPS * EACH), tmp_path_factory.mktemp("mapped") / "gallery")
    zs.make_map(out)
    return out


@pytest.fixture
def gallery(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "gallery")
    return tmp_path / "gallery"


def places(folder: Path) -> dict[int, tuple[float, ...]]:
    of = zs.open_map(folder)
    return dict(zip(of.ids.tolist(), map(tuple, of.xy.tolist()), strict=True))


def share_of_own_group(of: zs.Map, k: int = 10) -> float:
    """How many of the nearest on a map are of the same group; a sixth by chance."""
    groups = of.ids % GROUPS
    apart = np.linalg.norm(of.xy[:, None] - of.xy[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float((groups[np.argsort(apart, axis=1)[:, :k]] == groups[:, None]).mean())


class TestANewMap:
    def test_neighbours_are_of_the_same_group(self, gallery: Path) -> None:
        assert share_of_own_group(zs.open_map(gallery)) > 0.95

    def test_it_fills_the_unit_square_alike_in_both_directions(self, gallery: Path) -> None:
        xy = zs.open_map(gallery).xy
        assert xy.dtype == np.float32
        assert (xy >= 0).all()
        assert (xy <= 1).all()
        assert np.ptp(xy, axis=0).max() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose((xy.min(axis=0) + xy.max(axis=0)) / 2, 0.5, atol=1e-6)

    def test_the_same_seed_gives_the_same_map_and_another_one_another(self, made: Path, gallery: Path) -> None:
        before = (gallery / "map.parquet").read_bytes()
        zs.make_map(gallery, fresh=True)
        assert (gallery / "map.parquet").read_bytes() == before
        assert not np.array_equal(zs.make_map(gallery, fresh=True, seed=1).xy, zs.open_map(made).xy)

    def test_captions_are_at_the_medians_of_their_labels(self, gallery: Path) -> None:
        of = zs.open_map(gallery)
        assert [caption.label for caption in of.captions] == [f"group {number}" for number in range(GROUPS)]
        for number, caption in enumerate(of.captions):
            middle = np.median(of.xy[of.ids % GROUPS == number], axis=0)
            assert (caption.x, caption.y, caption.n) == (*middle.tolist(), EACH)

    @pytest.mark.parametrize("n", [1, 2, 3, 49, 50, 51])
    def test_few_images(self, n: int, tmp_path: Path) -> None:
        of = zs.make_map(imported(clustered(n), tmp_path / "few"))
        assert of.ids.tolist() == list(range(n))
        assert len(np.unique(of.xy, axis=0)) == n
        assert of.method == ("PCA" if n < 50 else "t-SNE")

    @pytest.mark.parametrize("n", [1, 3, 120])
    def test_equal_vectors(self, n: int, tmp_path: Path) -> None:
        of = zs.make_map(imported(np.repeat(clustered(1), n, axis=0), tmp_path / "equal"))
        assert np.isfinite(of.xy).all()
        assert (of.xy >= 0).all()
        assert (of.xy <= 1).all()

    def test_an_empty_gallery_is_refused(self, gallery: Path) -> None:
        zs.remove(gallery, ["*"])
        with pytest.raises(SourceError, match="is empty"):
            zs.make_map(gallery, fresh=True)

    def test_prototypes_are_refused(self, tmp_path: Path) -> None:
        zs.build_prototypes(tmp_path / "prototypes", "cat,dog", HashingEncoder())
        with pytest.raises(zs.IndexFormatError, match="a gallery index is needed"):
            zs.make_map(tmp_path / "prototypes")


class TestALargeGallery:
    """One of which only a part is arranged, and the rest is placed."""

    @pytest.fixture(autouse=True)
    def at_most(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(verb, "ARRANGED", 120)
        monkeypatch.setattr(verb, "_BLOCK", 50)

    def test_placed_images_are_with_their_groups(self, tmp_path: Path) -> None:
        stages = []
        out = imported(clustered(600), tmp_path / "large")
        of = zs.make_map(out, on_stage=lambda *stage: stages.append(stage))
        assert len(of.ids) == 600
        assert share_of_own_group(of) > 0.95
        assert [total for name, _, total in stages if name == "placing images"] == [480] * 10
        assert stages[-1] == ("placing images", 480, 480)
        before = (out / "map.parquet").read_bytes()
        zs.make_map(out, fresh=True)
        assert (out / "map.parquet").read_bytes() == before


class TestAnUpdate:
    def test_new_images_are_placed_and_old_ones_stay(self, gallery: Path) -> None:
        before = places(gallery)
        more = np.concatenate([clustered(GROUPS * EACH), clustered(60, seed=1)])
        imported(more, gallery)
        assert zs.open_map(gallery).missing == 60
        of = zs.make_map(gallery)
        after = places(gallery)
        assert len(after) == len(more)
        assert {id_: after[id_] for id_ in before} == before
        new = of.ids >= GROUPS * EACH
        middles = {caption.label: (caption.x, caption.y) for caption in of.captions}
        apart = np.linalg.norm(of.xy[new][:, None] - np.array([middles[f"group {n}"] for n in range(GROUPS)]), axis=2)
        assert (apart.argmin(axis=1) == of.ids[new] % GROUPS).mean() > 0.9

    def test_removed_images_leave_and_their_ids_stay_free(self, gallery: Path) -> None:
        before = places(gallery)
        zs.remove(gallery, ["1*.jpg"])
        kept = {item.id for item in zs.open_gallery(gallery).items}
        assert 0 < len(kept) < len(before)
        assert places(gallery) == {id_: before[id_] for id_ in kept}
        zs.make_map(gallery)
        assert places(gallery) == {id_: before[id_] for id_ in kept}
        assert len(maps.read(gallery).ids) == len(kept)
        zs.compact(gallery)
        assert places(gallery) == {id_: before[id_] for id_ in kept}

    def test_a_changed_image_is_placed_again(self, tmp_path: Path) -> None:
        root = pictures(tmp_path / "pictures", 60)
        out = tmp_path / "gallery"
        zs.build_gallery(root, out, HashingEncoder())
        zs.make_map(out)
        before = places(out)
        changed = next(item for item in zs.open_gallery(out).items if item.path.endswith("0007.png"))
        picture(root / changed.path, 1007)
        picture(root / "class 0" / "more.png", 2000)
        (root / "class 1" / "0001.png").rename(root / "class 1" / "moved.png")
        zs.sync(out, HashingEncoder())
        assert places(out).keys() == before.keys() - {changed.id}
        assert zs.open_map(out).missing == 2
        assert zs.make_map(out).missing == 0
        after = places(out)
        assert {id_ for id_ in before if after[id_] != before[id_]} == {changed.id}
        assert len(after) == 61

    def test_a_gallery_that_took_its_place_shares_nothing(self, tmp_path: Path) -> None:
        out = tmp_path / "gallery"
        zs.build_gallery(pictures(tmp_path / "one", 20), out, HashingEncoder())
        zs.make_map(out)
        zs.build_gallery(pictures(tmp_path / "other", 20, first=100), out, HashingEncoder(), force=True)
        of = zs.open_map(out)
        assert (len(of.ids), of.missing) == (0, 20)
        assert zs.make_map(out).missing == 0

    def test_with_less_than_half_on_the_map_all_is_recomputed(
        self, gallery: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = places(gallery)
        imported(np.concatenate([clustered(GROUPS * EACH), clustered(200, seed=1)]), gallery)
        with caplog.at_level("INFO", logger="zsretrieve"):
            zs.make_map(gallery)
        assert "recomputed" in caplog.text
        after = places(gallery)
        assert sum(after[id_] == before[id_] for id_ in before) < 5

    def test_a_map_of_another_model_is_refused_and_then_recomputed(self, gallery: Path) -> None:
        imported(clustered(GROUPS * EACH), gallery, encoder=HashingEncoder(seed=1))
        with pytest.raises(SpaceMismatchError, match="another model"):
            zs.open_map(gallery)
        zs.make_map(gallery)
        assert zs.open_map(gallery).missing == 0


class TestAccidents:
    def test_there_is_none(self, tmp_path: Path) -> None:
        out = imported(clustered(3), tmp_path / "few")
        assert not zs.has_map(out)
        with pytest.raises(SourceError, match="has no map") as error:
            zs.open_map(out)
        assert error.value.hint == f"Make one: zsretrieve index map '{out}'"

    @pytest.mark.parametrize("damage", ["cut", "byte", "empty", "text", "values"])
    def test_a_damaged_map_harms_nothing_else(self, gallery: Path, damage: str) -> None:
        path, whole = gallery / "map.parquet", (gallery / "map.parquet").read_bytes()
        made = maps.read(gallery)
        match damage:
            case "cut":
                path.write_bytes(whole[: len(whole) // 2])
            case "byte":
                middle = len(whole) // 3
                path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
            case "empty":
                path.write_bytes(b"")
            case "text":
                path.write_text("not Parquet")
            case "values":
                _write_as(gallery, made, replace(made, xy=1 - made.xy))
        with pytest.raises(IntegrityError, match="map"):
            zs.open_map(gallery)
        zs.open_gallery(gallery)
        assert any("map.parquet" in problem for problem in zs.verify(gallery))
        assert zs.make_map(gallery).missing == 0
        assert zs.verify(gallery) == []

    def test_a_map_of_a_later_version_is_no_damage(self, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as later:
            later.setattr(maps, "FORMAT_VERSION", 2)
            zs.make_map(gallery)
        with pytest.raises(zs.IndexVersionError, match="version 2"):
            zs.open_map(gallery)
        assert zs.verify(gallery) == []
        assert zs.repair(gallery).done == ()

    def test_repair_deletes_a_damaged_map_and_leaves_the_rest(self, gallery: Path) -> None:
        (gallery / "map.parquet").write_text("not Parquet")
        before = contents(gallery / "segments")
        assert zs.repair(gallery, encode=False).done == (
            "the damaged map is deleted; make another with: zsretrieve index map",
        )
        assert contents(gallery / "segments") == before
        assert not zs.has_map(gallery)
        assert zs.verify(gallery) == []

    def test_an_interruption_leaves_the_old_map(self, gallery: Path) -> None:
        before = contents(gallery)

        def stop(stage: str, done: int, total: int) -> None:
            if stage == "arranging the map" and done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            zs.make_map(gallery, fresh=True, seed=1, on_stage=stop)
        assert contents(gallery) == before

    def test_a_death_while_it_is_written_leaves_the_old_map(
        self, gallery: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = places(gallery)
        with monkeypatch.context() as patch:
            patch.setattr("zsretrieve.system.atomic.os.replace", lambda *_: (_ for _ in ()).throw(SystemExit))
            patch.setattr("zsretrieve.system.atomic.remove", lambda _: None)
            with pytest.raises(SystemExit):
                zs.make_map(gallery, fresh=True, seed=1)
        assert places(gallery) == before
        (part,) = gallery.glob(".map.parquet.*")
        zs.make_map(gallery)
        assert part.exists(), "another process may be writing it"
        os.utime(part, (0, 0))
        zs.make_map(gallery)
        assert not part.exists()

    def test_a_read_only_folder(self, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(zs.IndexFolderError, match="No space left"):
            zs.make_map(gallery)

    def test_a_lost_manifest_can_be_built_again(self, gallery: Path, tmp_path: Path) -> None:
        (gallery / "manifest.json").unlink()
        (gallery / "manifest.copy.json").unlink()
        zs.build_gallery(pictures(tmp_path / "pictures", 6), gallery, HashingEncoder(), force=True)
        assert zs.open_map(gallery).missing == 6


class TestPlacing:
    def test_a_known_vector_goes_to_its_own_place(self) -> None:
        vectors = clustered(60)
        xy = np.random.default_rng(0).random((60, 2), dtype=np.float32)
        np.testing.assert_allclose(projection.placed(vectors, vectors, xy), xy, atol=1e-3)

    def test_places_are_inside_the_hull(self) -> None:
        vectors, xy = clustered(60), np.random.default_rng(0).random((60, 2), dtype=np.float32)
        found = projection.placed(clustered(500, seed=2), vectors, xy)
        assert (found >= xy.min(axis=0)).all()
        assert (found <= xy.max(axis=0)).all()


def _write_as(folder: Path, digest_of: MapFile, made: MapFile) -> None:
    """Write a map whose digest is that of another."""
    original = maps._digest
    try:
        maps._digest = lambda _made, content: original(digest_of, content)
        maps.write(folder, made)
    finally:
        maps._digest = original
