"""Whatever happens to the files of an index: it is found, told in words, and as much as can be is saved."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.folders import file_named, table
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting, picture, pictures

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFormatError, IntegrityError, ZsRetrieveError
from zsretrieve.store import files, rows
from zsretrieve.store import items as item_table
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import writing


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("damage") / "photos", 90)


@pytest.fixture(scope="module")
def gallery(photos: Path) -> Path:
    """A gallery of several segments, one of which removes."""
    out = photos.parent / "gallery"
    zs.build_gallery(photos, out, HashingEncoder())
    picture(photos / "class 9" / "new.png", 900)
    zs.add(out, photos, HashingEncoder())
    zs.remove(out, ["class 0/000*"])
    names = {Path(name).name for name in manifests.read(out).files}
    assert names == {"items.parquet", "items.copy.parquet", "vectors.npy", "removed.npy", "index.faiss"}
    assert zs.verify(out) == []
    return out


@pytest.fixture
def copy(gallery: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gallery, tmp_path / "copy"))


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def places(gallery: Path, count: int) -> list[tuple[str, int, int]]:
    """Random places over all files of an index, every file among them."""
    rng = np.random.default_rng(3)
    found = []
    names = sorted(p.relative_to(gallery).as_posix() for p in gallery.rglob("*") if p.is_file())
    for number in range(count):
        name = names[number % len(names)]
        size = (gallery / name).stat().st_size
        found.append((name, int(rng.integers(0, size)), int(rng.integers(0, 8))))
    return found


def test_one_flipped_bit_anywhere_is_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 places. A small index is not even opened; of a large one, what lies behind the head of a file of vectors is
    left to the verification.
    """
    opened = 0
    for name, place, bit in places(copy, 200):
        path = copy / name
        whole = path.read_bytes()
        flip(path, place, bit)
        assert zs.verify(copy), f"{name}, byte {place}"
        for limit in (files.DIGEST_AT_OPEN_BYTES, 0):
            monkeypatch.setattr(files, "DIGEST_AT_OPEN_BYTES", limit)
            body = path.name in ("vectors.npy", "index.faiss")
            large_body = limit == 0 and body and place >= files.HEAD_BYTES
            if name == manifests.COPY or path.name == rows.ITEMS_COPY or large_body:
                zs.open_gallery(copy, device="cpu")
                opened += large_body
            else:
                with pytest.raises(ZsRetrieveError) as caught:
                    zs.open_gallery(copy, device="cpu")
                assert isinstance(caught.value, IndexFormatError | IntegrityError)
                assert caught.value.hint
        monkeypatch.undo()
        path.write_bytes(whole)
    assert opened, "no place lay behind a head"
    assert zs.verify(copy) == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_files_cut_short_or_long(gallery: Path, data: st.DataObject) -> None:
    copy = gallery.parent / "cut"
    shutil.copytree(gallery, copy, dirs_exist_ok=True)
    name = data.draw(
        st.sampled_from(sorted(n for n in manifests.read(gallery).files if not n.endswith(rows.ITEMS_COPY)))
    )
    whole = (copy / name).read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1) | st.just(-1))
    (copy / name).write_bytes(whole[:cut] if cut >= 0 else whole + b"\0")
    with pytest.raises(IntegrityError):
        zs.open_gallery(copy, device="cpu")
    assert zs.verify(copy)
    (copy / name).write_bytes(whole)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_items_files_of_any_content_are_refused_in_words(gallery: Path, data: st.DataObject) -> None:
    """Even where the digest would match: the reader itself never lets anything but its own error out."""
    whole = file_named_any(gallery, "items.parquet").read_bytes()
    path = gallery.parent / "fuzzed.parquet"
    kind = data.draw(st.sampled_from(["cut", "flipped", "noise"]))
    if kind == "cut":
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    elif kind == "flipped":
        changed = bytearray(whole)
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=5)):
            changed[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
    else:
        path.write_bytes(data.draw(st.binary(max_size=300)))
    with contextlib.suppress(IntegrityError):
        item_table.read(path)


def file_named_any(folder: Path, name: str) -> Path:
    return next(folder / path for path in sorted(manifests.read(folder).files) if path.endswith(f"/{name}"))


def test_a_careless_writer_is_found_though_digests_match(copy: Path) -> None:
    """Rows whose ids do not increase, and vectors that are no unit rows."""
    for what in ("ids", "norms"):
        folder = Path(shutil.copytree(copy, copy.with_name(what)))
        with writing(folder) as writer:
            assert writer.manifest is not None
            manifest = writer.manifest
            segment = manifest.segments[0]
            where = folder / "segments" / segment.name
            part = rows.read_part(folder, manifest, segment)
            if what == "ids":
                item_table.write(where / rows.ITEMS, part.items[::-1])
            else:
                np.save(where / rows.VECTORS, part.vectors * 2)
            content = manifests.to_dict(manifest)
            for name in content["files"]:
                content["files"][name] = asdict(files.entry_of(folder / name))
            del content["digest"]
            content["digest"] = manifests._digest(content)
            for name in (manifests.NAME, manifests.COPY):
                (folder / name).write_bytes(manifests._canonical(content))
            writer.manifest = manifests.read(folder)
        expected = "not strictly increasing" if what == "ids" else "norm 2.0"
        assert any(expected in problem for problem in zs.verify(folder)), zs.verify(folder)


def test_verification_is_dated_where_that_can_be_written(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsretrieve.store.verify.now", lambda: "2031-01-01T00:00:00+00:00")
    with writing(copy):
        assert zs.verify(copy) == [], "another writer is no obstacle"
        assert manifests.read(copy).verified < "2031"
    assert zs.verify(copy) == []
    assert manifests.read(copy).verified == "2031-01-01T00:00:00+00:00"


def test_deep_verification_notices_another_model_or_other_pictures(gallery: Path, photos: Path, tmp_path: Path) -> None:
    class Drifted(HashingEncoder):
        def encode_prepared(self, batch: object) -> np.ndarray:
            return np.roll(super().encode_prepared(batch), 1, axis=1)  # type: ignore[arg-type]

    count = len(zs.open_gallery(gallery).items)
    assert zs.verify_deep(gallery, HashingEncoder(), sample=1000).n_same == count
    checked = zs.verify_deep(gallery, Drifted(), sample=5)
    assert len(checked.damages) == 5
    assert "encodes to another vector now: cosine" in checked.damages[0].message
    out = tmp_path / "moved"
    moved = Path(shutil.copytree(photos, tmp_path / "photos"))
    zs.build_gallery(moved, out, HashingEncoder())
    picture(moved / "class 0" / "0000.png", 12345)
    (moved / "class 0" / "0003.png").unlink()
    checked = zs.verify_deep(out, HashingEncoder(), sample=1000)
    assert (checked.n_same, checked.n_changed, checked.damages) == (89, 2, ())
    zs.build_prototypes(tmp_path / "p", "cat,dog,cow", HashingEncoder())
    assert zs.verify_deep(tmp_path / "p", HashingEncoder(), sample=2).n_same == 2


def test_repairing_what_is_sound_changes_nothing(copy: Path) -> None:
    before = table(zs.open_gallery(copy, device="cpu"))
    done = zs.repair(copy, Counting(0))
    assert (done.done, done.recovered, done.lost) == ((), 0, ())
    assert table(zs.open_gallery(copy, device="cpu")) == before


@pytest.mark.parametrize("how", ["flipped", "missing", "cut"])
def test_the_faiss_file_is_made_anew(copy: Path, how: str) -> None:
    before = table(zs.open_gallery(copy, device="cpu"))
    path = file_named(copy, "index.faiss")
    if how == "flipped":
        flip(path, 5000)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    done = zs.repair(copy, Counting(0))
    assert done.done == ("the FAISS file is rebuilt from the vectors",)
    assert done.lost == ()
    assert table(zs.open_gallery(copy, device="cpu")) == before
    assert zs.verify(copy) == []


def test_damaged_vectors_are_made_again_from_the_pictures(gallery: Path, photos: Path, tmp_path: Path) -> None:
    world = Path(shutil.copytree(photos, tmp_path / "photos"))
    out = tmp_path / "g"
    zs.build_gallery(world, out, HashingEncoder())
    picture(world / "class 9" / "extra.png", 901)
    zs.add(out, world, HashingEncoder())
    before = table(zs.open_gallery(out, device="cpu"))
    largest = max((out / "segments").rglob("vectors.npy"), key=lambda p: p.stat().st_size)
    flip(largest, 3000)
    with pytest.raises(IntegrityError, match="damaged") as caught:
        zs.open_gallery(out)
    assert "index repair" in str(caught.value.hint)
    done = zs.repair(out, HashingEncoder())
    assert (done.recovered, done.lost) == (91, ())
    assert table(zs.open_gallery(out, device="cpu")) == before
    assert zs.verify(out) == []
    flip(max((out / "segments").rglob("vectors.npy"), key=lambda p: p.stat().st_size), 3000)
    picture(world / "class 0" / "0000.png", 3333)
    (world / "class 1" / "0001.png").unlink()
    done = zs.repair(out, HashingEncoder())
    assert set(done.lost) == {"class 0/0000.png", "class 1/0001.png"}
    after = table(zs.open_gallery(out, device="cpu"))
    assert after == {id_: row for id_, row in before.items() if row[0] not in done.lost}
    assert zs.verify(out) == []


def test_without_encoding_damaged_vectors_are_lost_and_told(copy: Path) -> None:
    before = table(zs.open_gallery(copy, device="cpu"))
    sizes = {p: np.load(p).shape[0] for p in (copy / "segments").rglob("vectors.npy")}
    flip(min((p for p, n in sizes.items() if n), key=sizes.__getitem__), 130)
    done = zs.repair(copy, encode=False)
    assert done.lost == ("class 9/new.png",)
    after = table(zs.open_gallery(copy, device="cpu"))
    assert after == {id_: row for id_, row in before.items() if row[0] != "class 9/new.png"}
    assert zs.verify(copy) == []


def test_a_damaged_items_file_is_taken_from_its_copy(copy: Path) -> None:
    before = table(zs.open_gallery(copy, device="cpu"))
    for number, path in enumerate(sorted((copy / "segments").rglob("items*.parquet"))):
        if number % 2:
            flip(path, 40)
    done = zs.repair(copy, Counting(0))
    assert (done.lost, done.n_lost, done.recovered) == ((), 0, 0)
    assert table(zs.open_gallery(copy, device="cpu")) == before
    assert zs.verify(copy) == []


def test_a_damaged_items_file_without_its_copy_loses_its_segment_and_says_so(copy: Path) -> None:
    before = table(zs.open_gallery(copy, device="cpu"))
    sizes = {p: len(item_table.read(p)) for p in (copy / "segments").rglob("items.parquet")}
    path = min((p for p, n in sizes.items() if n), key=sizes.__getitem__)
    flip(path, 40)
    flip(path.with_name("items.copy.parquet"), 40)
    done = zs.repair(copy, HashingEncoder())
    assert len(done.lost) == 1
    assert "1 images of segment" in done.lost[0]
    assert done.n_lost == 1
    assert set(table(zs.open_gallery(copy, device="cpu"))) == set(before) - {90}
    assert zs.verify(copy) == []


def test_a_damaged_list_of_removals_is_told(copy: Path) -> None:
    flip(next((copy / "segments").rglob("removed.npy")), 130)
    done = zs.repair(copy, HashingEncoder())
    assert any("removed images" in line and "may be back" in line for line in done.lost)
    assert len(zs.open_gallery(copy, device="cpu").items) == 91
    assert zs.verify(copy) == []


def test_a_damaged_manifest_is_restored_from_its_copy(copy: Path) -> None:
    before = table(zs.open_gallery(copy, device="cpu"))
    flip(copy / manifests.NAME, 500)
    assert zs.verify(copy)
    done = zs.repair(copy, Counting(0))
    assert done.done == ("the manifest is restored from its copy",)
    assert table(zs.open_gallery(copy, device="cpu")) == before
    assert zs.verify(copy) == []
    (copy / manifests.NAME).unlink()
    assert "is missing" in zs.verify(copy)[0]
    assert zs.repair(copy, Counting(0)).done == ("the manifest is restored from its copy",)
    assert table(zs.open_gallery(copy, device="cpu")) == before
    flip(copy / manifests.COPY, 500)
    assert zs.repair(copy, Counting(0)).done == ("the copy of the manifest is renewed",)
    assert zs.verify(copy) == []
    for name in (manifests.NAME, manifests.COPY):
        flip(copy / name, 500)
    with pytest.raises(IndexFormatError, match="is damaged"):
        zs.repair(copy, Counting(0))
    assert (copy / "segments").exists()


def test_a_missing_copy_of_the_manifest_is_reported_and_renewed(copy: Path) -> None:
    (copy / manifests.COPY).unlink()
    (problem,) = zs.verify(copy)
    assert problem == "'manifest.copy.json' is missing, which a repair of 'manifest.json' needs"
    assert zs.repair(copy, Counting(0)).done == ("the copy of the manifest is renewed",)
    assert zs.verify(copy) == []


def test_prompts_that_the_manifest_does_not_name_are_reported(tmp_path: Path) -> None:
    out = tmp_path / "p"
    zs.build_prototypes(out, "cat,dog", HashingEncoder(), templates="raw")
    path = file_named(out, "prompts.json")
    path.write_text(path.read_text().replace("cat", "cow"))
    content = manifests.to_dict(manifests.read(out))
    content["files"][str(path.relative_to(out))] = asdict(files.entry_of(path))
    del content["digest"]
    content["digest"] = manifests._digest(content)
    for name in (manifests.NAME, manifests.COPY):
        (out / name).write_bytes(manifests._canonical(content))
    assert zs.verify(out) == ["the prompts are not those that the manifest names"]


def test_prototypes_are_repaired_from_their_prompts(tmp_path: Path) -> None:
    out = tmp_path / "p"
    zs.build_prototypes(out, "cat,dog,cow", HashingEncoder(), templates="openai7")
    vectors = np.array(zs.open_prototypes(out, device="cpu").vectors)
    flip(file_named(out, "index.faiss"), 200)
    assert zs.repair(out, Counting(0)).done == ("the FAISS file is rebuilt from the vectors",)
    flip(file_named(out, "vectors.npy"), 200)
    with pytest.raises(IntegrityError):
        zs.repair(out, encode=False)
    zs.repair(out, HashingEncoder())
    np.testing.assert_array_equal(zs.open_prototypes(out, device="cpu").vectors, vectors)
    assert zs.verify(out) == []
    flip(file_named(out, "prompts.json"), 20)
    with pytest.raises(IntegrityError, match=r"prompts of .* are damaged"):
        zs.repair(out, HashingEncoder())


def test_repair_with_an_older_copy_deletes_nothing(gallery: Path, photos: Path, tmp_path: Path) -> None:
    """The copy is a commit behind (a death between the two renames), and then the manifest is damaged."""
    for later in ("add", "compact"):
        world = Path(shutil.copytree(photos, tmp_path / later / "photos"))
        out = tmp_path / later / "g"
        zs.build_gallery(world, out, HashingEncoder())
        zs.remove(out, ["class 0"])
        older = (out / manifests.COPY).read_bytes()
        if later == "add":
            picture(world / "class 9" / "later.png", 4321)
            zs.add(out, world / "class 9", HashingEncoder())
        else:
            zs.compact(out)
        vectors = {p.read_bytes() for p in (out / "segments").rglob("vectors.npy")}
        (out / manifests.COPY).write_bytes(older)
        flip(out / manifests.NAME, 500)
        if later == "compact":
            with pytest.raises(IntegrityError, match="nothing of the index"):
                zs.repair(out, encode=False)
        else:
            done = zs.repair(out, HashingEncoder())
            assert any("later state" in line for line in done.lost)
            assert zs.verify(out) == []
            taken = {item.id for item in zs.open_gallery(out).items}
            assert manifests.read(out).next_id == 92
            assert 91 not in taken
        assert vectors <= {p.read_bytes() for p in (out / "segments").rglob("vectors.npy")}


def test_an_old_copy_is_renewed_by_the_next_writer(copy: Path) -> None:
    older = (copy / manifests.COPY).read_bytes()
    zs.remove(copy, ["class 1/0001.png"])
    (copy / manifests.COPY).write_bytes(older)
    with writing(copy):
        pass
    assert (copy / manifests.COPY).read_bytes() == (copy / manifests.NAME).read_bytes()
