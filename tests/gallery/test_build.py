"""Building galleries that are interrupted, and re-encoding them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from kits.folders import table
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting, picture, pictures
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import (
    ImageError,
    IndexFormatError,
    OutputExistsError,
    SkippedInputError,
    SourceError,
    SpaceMismatchError,
)
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.images import sources
from zsretrieve.store.folder import staged


def interrupted(source: Path, out: Path, after: int, **options: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(source, out, Counting(after), **options)


def test_resuming_at_90_percent_encodes_only_the_rest(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 320)
    (photos / "class 1" / "0100.png").write_bytes(b"broken")
    whole = zs.build_gallery(photos, tmp_path / "whole", HashingEncoder())
    interrupted(photos, tmp_path / "out", 287)
    # One less, since no batch reaches over the end of the first unit, which holds the broken one.
    assert staged(tmp_path / "out").count == 287
    with pytest.raises(IndexFormatError, match="not finished") as caught:
        zs.open_gallery(tmp_path / "out")
    assert "Continue with: zsretrieve index gallery" in str(caught.value.hint)
    encoder = Counting()
    gallery = zs.build_gallery(photos, tmp_path / "out", encoder)
    assert encoder.count == 319 - 287
    assert table(gallery) == table(whole)
    assert gallery.manifest.skipped == whole.manifest.skipped
    listed = [file.path for file in sources.folder(photos).files]
    assert all(listed[item.id] == item.path for item in gallery.items), "the broken one keeps its place"
    assert zs.verify(tmp_path / "out") == []
    assert not (tmp_path / "out" / ".building").exists()


def test_interrupted_again_and_again(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 200)
    for after in (0, 16, 48, 10, 64):
        interrupted(photos, tmp_path / "out", after, checkpoint=20)
    assert staged(tmp_path / "out").count == 128
    built = zs.build_gallery(photos, tmp_path / "out", HashingEncoder())
    assert table(built) == table(zs.build_gallery(photos, tmp_path / "whole", HashingEncoder()))


def test_what_changed_meanwhile_is_taken_as_it_is_now(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 64)
    interrupted(photos, tmp_path / "out", 32)
    picture(photos / "class 0" / "0000.png", 999)
    os.utime(photos / "class 0" / "0000.png", ns=(1, 1))
    picture(photos / "class 0" / "0001 new.png", 1000)
    encoder = Counting()
    gallery = zs.build_gallery(photos, tmp_path / "out", encoder)
    assert encoder.count == 32 + 2
    by_path = {item.path: item.id for item in gallery.items}
    assert by_path["class 0/0000.png"] == 0
    assert by_path["class 0/0001 new.png"] >= 64, "an id that no picture had before"
    assert len(set(by_path.values())) == 65
    fresh = {i.path: v for i, v in zip(gallery.items, gallery.vectors, strict=True)}
    again = zs.build_gallery(photos, tmp_path / "again", HashingEncoder())
    for item, vector in zip(again.items, again.vectors, strict=True):
        np.testing.assert_array_equal(fresh[item.path], vector)


def test_another_build_than_the_interrupted_one_is_told_apart(tmp_path: Path) -> None:
    photos, others = pictures(tmp_path / "photos", 40), pictures(tmp_path / "others", 20, first=100)
    out = tmp_path / "out"
    interrupted(photos, out, 16)
    for source, encoder, options, word in (
        (photos, HashingEncoder(seed=1), {}, "weights"),
        (others, HashingEncoder(), {}, "source"),
        (photos, HashingEncoder(), {"reading": zs.Reading(exif=False)}, "exif"),
    ):
        with pytest.raises(OutputExistsError, match=f"interrupted build .* differs in .*{word}"):
            zs.build_gallery(source, out, encoder, **options)
    assert staged(out).count == 16
    built = zs.build_gallery(others, out, HashingEncoder(seed=1), force=True)
    assert len(built.items) == 20
    assert built.space.weights == "seed:1"
    assert not (out / ".building").exists()


def test_a_replacement_that_is_interrupted_leaves_the_old_index_and_goes_on(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 40), tmp_path / "out"
    old = table(zs.build_gallery(photos, out, HashingEncoder()))
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, out, Counting(32, seed=1), force=True)
    assert table(zs.open_gallery(out, device="cpu")) == old
    assert zs.verify(out) == []
    encoder = Counting(seed=1)
    built = zs.build_gallery(photos, out, encoder, force=True)
    assert encoder.count == 8
    assert built.space.weights == "seed:1"


def test_strict_keeps_what_was_encoded(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 60)
    bad = photos / "class 2" / "0059.png"
    whole = bad.read_bytes()
    bad.write_bytes(b"broken")
    with pytest.raises(SkippedInputError, match="0059"):
        zs.build_gallery(photos, tmp_path / "out", HashingEncoder(), reading=zs.Reading(strict=True))
    assert staged(tmp_path / "out").count == 48
    bad.write_bytes(whole)
    encoder = Counting()
    zs.build_gallery(photos, tmp_path / "out", encoder, reading=zs.Reading(strict=True))
    assert encoder.count == 12


def test_equal_files_are_encoded_once_and_tie(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 30)
    for number in range(10):
        (photos / f"copy {number}.png").write_bytes((photos / "class 0" / "0003.png").read_bytes())
    encoder = Counting()
    gallery = zs.build_gallery(photos, tmp_path / "out", encoder)
    assert encoder.count == 30
    assert len(gallery.items) == 40
    same = [row for row, item in enumerate(gallery.items) if item.digest == gallery.items[1].digest]
    assert len(same) == 11
    assert len({gallery.vectors[row].tobytes() for row in same}) == 1


def test_a_list_may_name_a_file_twice(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 20)
    names = [str(path) for path in sorted(photos.rglob("*.png"))] * 2
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(sources.paths(names), tmp_path / "out", Counting(16))
    gallery = zs.build_gallery(sources.paths(names), tmp_path / "out", HashingEncoder())
    assert [item.id for item in gallery.items] == list(range(40))
    assert [item.path for item in gallery.items] == names


def test_rebuilding_with_another_model_keeps_ids_and_labels(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 60), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    zs.remove(out, ["class 1/00[01]*"])
    picture(photos / "class 5" / "new.png", 777)
    zs.add(out, photos / "class 5", HashingEncoder())
    before = zs.open_gallery(out, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        zs.rebuild(out, Counting(32, seed=4))
    assert table(zs.open_gallery(out, device="cpu")) == table(before)
    encoder = Counting(seed=4)
    built = zs.rebuild(out, encoder)
    assert encoder.count == len(before.items) - 32
    assert [(i.id, i.path, i.label) for i in built.gallery.items] == [(i.id, i.path, i.label) for i in before.items]
    assert built.gallery.manifest.next_id == before.manifest.next_id
    assert built.gallery.manifest.origins == before.manifest.origins
    assert built.gallery.space.weights == "seed:4"
    assert zs.verify(out) == []
    assert zs.verify_deep(out, HashingEncoder(seed=4)).n_same == len(before.items)


def test_rebuilding_does_not_lose_what_is_gone(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 30), tmp_path / "out"
    old = table(zs.build_gallery(photos, out, HashingEncoder()))
    (photos / "class 0" / "0003.png").unlink()
    with pytest.raises(SourceError, match=r"1 images of .* cannot be read any more, so the old gallery stays"):
        zs.rebuild(out, HashingEncoder(seed=4))
    assert table(zs.open_gallery(out, device="cpu")) == old
    encoder = Counting(seed=4)
    built = zs.rebuild(out, encoder, drop_missing=True)
    assert encoder.count == 0, "the encoding of before was kept"
    assert (built.changes.removed, len(built.gallery.items)) == (1, 29)


def test_what_is_gone_meanwhile_is_not_in_the_gallery(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 64)
    interrupted(photos, tmp_path / "out", 32, checkpoint=8)
    (photos / "class 0" / "0000.png").unlink()
    (photos / "class 0" / "0003.png").rename(photos / "class 2" / "0003.png")
    encoder = Counting()
    built = zs.build_gallery(photos, tmp_path / "out", encoder)
    assert encoder.count == 32
    assert sorted(item.path for item in built.items) == sorted(
        path.relative_to(photos).as_posix() for path in photos.rglob("*.png")
    )
    assert zs.verify(tmp_path / "out") == []
    assert zs.verify_deep(tmp_path / "out", HashingEncoder(), sample=99).n_same == 63


def test_a_rebuilding_that_goes_on_follows_what_was_done_to_the_gallery_meanwhile(tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", 60), tmp_path / "out"
    zs.build_gallery(photos, out, HashingEncoder())
    with pytest.raises(KeyboardInterrupt):
        zs.rebuild(out, Counting(32, seed=4))
    zs.remove(out, ["class 0/0000.png", "class 0/0003.png"])
    assert zs.add(out, photos / "class 0", HashingEncoder()).added == 2
    zs.remove(out, ["class 0/0006.png"])
    now = [(item.id, item.path) for item in zs.open_gallery(out).items]
    assert (60, "class 0/0000.png") in now
    built = zs.rebuild(out, HashingEncoder(seed=4))
    assert [(item.id, item.path) for item in built.gallery.items] == now
    assert zs.verify_deep(out, HashingEncoder(seed=4), sample=99).n_same == 59


def test_labels_given_anew_are_taken_when_a_build_goes_on(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 48)
    truth = tmp_path / "truth.txt"
    truth.write_text("\n".join(["old"] * 48))
    interrupted(photos, tmp_path / "out", 32, ground_truth=truth)
    truth.write_text("\n".join(["new"] * 48))
    built = zs.build_gallery(photos, tmp_path / "out", HashingEncoder(), ground_truth=truth)
    assert {item.label for item in built.items} == {"new"}


class Quantised(HashingEncoder):
    """Says that it computes in int8, and is off by little."""

    def __init__(self, calibration: str, *, off: float = 0.0, least: float = 0.99) -> None:
        super().__init__()
        self.encoding = Encoding(
            "numpy", "int8", "cpu", cosine_to_fp32=0.995, least_cosine_to_fp32=least, calibration=calibration
        )
        self._off = off

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        exact = super().encode_prepared(batch)
        aside = np.roll(exact, 1, axis=1)
        aside = unit_rows(aside - np.einsum("nd,nd->n", aside, exact)[:, None] * exact)
        return unit_rows((1 - self._off) * exact + np.sqrt(1 - (1 - self._off) ** 2) * aside)


def test_int8_of_one_calibration_only_is_in_a_gallery(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 20)
    zs.build_gallery(photos, tmp_path / "out", HashingEncoder())
    pictures(photos, 5, first=100)
    zs.add(tmp_path / "out", photos, Quantised("a"))
    pictures(photos, 5, first=200)
    with pytest.raises(SpaceMismatchError, match="of calibration a, and the model's is b") as refused:
        zs.add(tmp_path / "out", photos, Quantised("b"))
    assert "index rebuild" in str(refused.value.hint)
    zs.add(tmp_path / "out", photos, HashingEncoder())
    made = zs.open_gallery(tmp_path / "out").manifest.encoding
    assert (made.precision, made.calibration) == ("fp64+int8", "a")
    assert (made.cosine_to_fp32, made.least_cosine_to_fp32) == (0.995, 0.99)
    stopping = Counting(16)
    stopping.encoding = Quantised("a").encoding
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, tmp_path / "new", stopping)
    with pytest.raises(OutputExistsError, match="differs in calibration"):
        zs.build_gallery(photos, tmp_path / "new", Quantised("b"))


@pytest.mark.parametrize(("off", "sound"), [(0.07, True), (0.1, False)])
def test_deep_verification_allows_what_int8_loses(tmp_path: Path, off: float, sound: bool) -> None:
    photos = pictures(tmp_path / "photos", 8)
    zs.build_gallery(photos, tmp_path / "out", Quantised("a", off=off))
    for again in (HashingEncoder(), Quantised("a", off=0.0)):
        checked = zs.verify_deep(tmp_path / "out", again)
        # Of the same calibration nothing is lost anew.
        assert checked.n_same == (8 if sound and again.encoding.calibration is None else 0)
        assert len(checked.damages) == 8 - checked.n_same


def test_a_gallery_is_not_of_a_calibration_that_gave_it_no_vector(tmp_path: Path) -> None:
    class Refusing(Quantised):
        def prepare(self, image: Image.Image) -> Pixels:
            raise ImageError("too narrow")

    photos = pictures(tmp_path / "photos", 5)
    before = zs.build_gallery(photos, tmp_path / "out", HashingEncoder()).manifest.encoding
    picture(photos / "narrow.png", 50)
    zs.add(tmp_path / "out", photos, Refusing("a"))
    left = zs.open_gallery(tmp_path / "out").manifest
    assert [one.path for one in left.skipped] == ["narrow.png"]
    assert left.encoding == before
    zs.add(tmp_path / "out", photos, Quantised("b"))
    assert zs.open_gallery(tmp_path / "out").manifest.encoding.calibration == "b"


def test_deep_verification_finds_vectors_of_other_pictures_however_much_int8_loses(tmp_path: Path) -> None:
    class Swapping(Quantised):
        def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
            made = super().encode_prepared(batch)
            made[[0, 1]] = made[[1, 0]]
            return made

    photos = pictures(tmp_path / "photos", 8)
    zs.build_gallery(photos, tmp_path / "out", Swapping("a", off=0.07, least=0.4))
    for again in (HashingEncoder(), Quantised("b", least=0.4)):
        checked = zs.verify_deep(tmp_path / "out", again)
        assert (checked.n_same, len(checked.damages)) == (6, 2)


@pytest.mark.parametrize(("mean", "off", "sound"), [(0.995, 0.07, True), (0.995, 0.12, False), (None, 0.12, True)])
def test_deep_verification_of_int8_whose_least_was_not_recorded(
    tmp_path: Path, mean: float | None, off: float, sound: bool
) -> None:
    older = Quantised("a", off=off)
    older.encoding = Encoding("numpy", "int8", "cpu", cosine_to_fp32=mean)
    zs.build_gallery(pictures(tmp_path / "photos", 8), tmp_path / "out", older)
    assert zs.verify_deep(tmp_path / "out", HashingEncoder()).n_same == (8 if sound else 0)


def test_vectors_of_several_makes_are_told(tmp_path: Path) -> None:
    class Elsewhere(HashingEncoder):
        def __init__(self, precision: str) -> None:
            super().__init__()
            self.encoding = Encoding("numpy", precision, "cuda")

    photos = pictures(tmp_path / "photos", 20)
    zs.build_gallery(photos, tmp_path / "out", HashingEncoder())
    pictures(photos, 5, first=100)
    zs.add(tmp_path / "out", photos, Elsewhere("bf16"))
    made = zs.open_gallery(tmp_path / "out").manifest.encoding
    assert (made.engine, made.precision, made.device) == ("numpy", "fp64+bf16", "cpu+cuda")
    interrupted(photos, tmp_path / "new", 16)
    with pytest.raises(OutputExistsError, match="differs in precision"):
        zs.build_gallery(photos, tmp_path / "new", Elsewhere("bf16"))
    built = zs.build_gallery(photos, tmp_path / "new", Elsewhere("fp64"))
    assert built.manifest.encoding.device == "cpu+cuda"


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(SourceError, match="the only image cannot be read"):
        zs.build_gallery(tmp_path, tmp_path / "out", HashingEncoder())
    assert not (tmp_path / "out").exists()
