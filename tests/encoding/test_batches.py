"""The way from files to vectors: what overlaps, what is kept in order, what is let go."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder, LazyModel
from kits.pictures import Counting, picture, pictures
from kits.waiting import PATIENCE_S
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import OutputExistsError, SkippedInputError
from zsretrieve.domain.ports import Encoder, Known, Pixels
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.loading import Model
from zsretrieve.encoders.torch.data_parallel import Replicas
from zsretrieve.encoding.batches import Batch, Memory, encode_batches


def batches_of(photos: Path, encoder: Encoder, reading: Reading | None = None, *, first: int = 0) -> list[Batch]:
    source = zs.open_source([photos])
    memory = Memory()
    made = []
    for batch in encode_batches(source, source.files[first:], Model.of(encoder), reading or Reading(), memory.get):
        memory.note(batch)
        made.append(batch)
    return made


def paths(batch: Batch) -> list[str]:
    return [seen.file.path for seen in batch.seen]


class Waiting(HashingEncoder):
    """Is through with its first batch only when pictures of the one after the next have been prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = 0
        self._enough = threading.Event()
        self._count = threading.Lock()

    def prepare(self, image: Image.Image) -> Pixels:
        with self._count:
            self.prepared += 1
            if self.prepared > 2 * self.batch_size:
                self._enough.set()
        return super().prepare(image)

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        assert self._enough.wait(PATIENCE_S), "nothing is made ready while the model works"
        return super().encode_prepared(batch)


def test_pictures_are_made_ready_while_the_model_works(tmp_path: Path) -> None:
    photos = pictures(tmp_path, 80)
    made = batches_of(photos, Waiting())
    assert [len(batch.seen) for batch in made] == [16, 16, 16, 16, 16, 0]


def test_what_is_ahead_is_bounded(tmp_path: Path) -> None:
    class Slow(Waiting):
        def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
            most.append(self.prepared)
            return HashingEncoder.encode_prepared(self, batch)

    most: list[int] = []
    photos = pictures(tmp_path, 200)
    batches_of(photos, Slow(), Reading(workers=2))
    # One batch with the model, one at hand, one being put together, one decoded ahead, and what the threads hold.
    for call, prepared in enumerate(most):
        assert prepared <= 16 * (call + 4) + 4 * 2


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_batches_and_their_order_do_not_depend_on_how_many_run_at_once(tmp_path: Path, concurrency: int) -> None:
    photos = pictures(tmp_path, 50)
    picture(photos / "class 1" / "0030 again.png", 4)  # equal pictures: of the same batch, and of one in flight
    picture(photos / "class 0" / "0003 again.png", 3)
    (photos / "class 0" / "0006.png").write_bytes(b"no picture")
    expected = batches_of(photos, HashingEncoder())
    encoder = Replicas([HashingEncoder() for _ in range(concurrency)])
    made = batches_of(photos, encoder)
    assert [paths(batch) for batch in made] == [paths(batch) for batch in expected]
    assert [batch.skipped for batch in made] == [batch.skipped for batch in expected]
    assert [batch.done for batch in made] == [batch.done for batch in expected]
    for one, other in zip(made, expected, strict=True):
        assert [(s.item, s.fresh) for s in one.seen] == [(s.item, s.fresh) for s in other.seen]
        for mine, theirs in zip(one.seen, other.seen, strict=True):
            np.testing.assert_array_equal(mine.vector, theirs.vector)
    assert sum(seen.fresh for batch in made for seen in batch.seen) == 49


def test_a_run_taken_up_again_has_the_same_batches(tmp_path: Path) -> None:
    photos = pictures(tmp_path, 60)
    picture(photos / "class 2" / "0002 again.png", 2)
    whole = batches_of(photos, HashingEncoder())
    rest = batches_of(photos, HashingEncoder(), first=whole[0].done)
    assert [paths(batch) for batch in rest] == [paths(batch) for batch in whole[1:]]


def test_batches_that_the_model_had_are_given_before_a_strict_refusal(tmp_path: Path) -> None:
    photos = pictures(tmp_path, 40)
    (photos / "class 2" / "9999.png").write_bytes(b"no picture")
    source = zs.open_source([photos])
    given: list[Batch] = []
    model = Model.of(HashingEncoder())
    with pytest.raises(SkippedInputError, match=r"9999\.png"):
        given.extend(encode_batches(source, source.files, model, Reading(strict=True), lambda _: None))
    assert [len(batch.seen) for batch in given] == [16, 16]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_the_model_raises_ends_the_threads(tmp_path: Path, error: type[BaseException]) -> None:
    class Failing(HashingEncoder):
        def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
            raise error("stop")

    with pytest.raises(error, match="stop"):
        batches_of(pictures(tmp_path, 40), Failing())
    assert not [one.name for one in threading.enumerate() if one.name.startswith(("decode", "model"))]


def test_a_run_that_is_given_up_ends_the_threads(tmp_path: Path) -> None:
    source = zs.open_source([pictures(tmp_path, 60)])
    for _ in encode_batches(source, source.files, Model.of(HashingEncoder()), Reading(), lambda _: None):
        break
    assert not [one.name for one in threading.enumerate() if one.name.startswith(("decode", "model"))]


def test_the_encoder_is_made_once_and_only_for_a_readable_picture_that_is_not_known(tmp_path: Path) -> None:
    made = []

    def make() -> HashingEncoder:
        made.append(1)
        return HashingEncoder()

    model = LazyModel(make)
    known = Known(7, 9, np.ones(32, dtype=np.float32))
    source = zs.open_source([pictures(tmp_path / "known", 40)])
    for batch in encode_batches(source, source.files, model, Reading(), lambda _: known):
        assert not any(seen.fresh for seen in batch.seen)
    (tmp_path / "bad").mkdir()
    for number in range(40):
        (tmp_path / "bad" / f"{number}.jpg").write_bytes(b"no picture")
    bad = zs.open_source([tmp_path / "bad"])
    assert sum(len(b.skipped) for b in encode_batches(bad, bad.files, model, Reading(), lambda _: None)) == 40
    assert not made
    encoded = list(encode_batches(source, source.files, model, Reading(), lambda _: None))
    assert sum(len(batch.seen) for batch in encoded) == 40
    assert len(made) == 1


def test_fast_decoding_is_kept_in_the_manifest_and_by_what_is_added(tmp_path: Path) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        coarse = coarse[::-1]
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(tmp_path / name / f"{name}.jpg")
    exact = zs.build_gallery(tmp_path / "one", tmp_path / "exact", HashingEncoder())
    fast = zs.build_gallery(tmp_path / "one", tmp_path / "fast", HashingEncoder(), reading=Reading(fast=True))
    assert (exact.manifest.encoding.decoding, fast.manifest.encoding.decoding) == ("exact", "fast")
    assert fast.items == exact.items
    assert not np.array_equal(fast.vectors, exact.vectors)
    assert (fast.vectors * exact.vectors).sum(axis=1).min() > 0.99
    zs.add(tmp_path / "fast", tmp_path / "two", HashingEncoder())
    both = zs.build_gallery(tmp_path / "two", tmp_path / "other", HashingEncoder(), reading=Reading(fast=True))
    grown = zs.open_gallery(tmp_path / "fast")
    np.testing.assert_array_equal(grown.vectors[1], both.vectors[0])
    assert grown.manifest.encoding.decoding == "fast"


def test_an_interrupted_fast_build_is_not_gone_on_with_exactly(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", 40)
    with pytest.raises(KeyboardInterrupt):
        zs.build_gallery(photos, tmp_path / "out", Counting(16), reading=Reading(fast=True), checkpoint=1)
    with pytest.raises(OutputExistsError, match="differs in decoding"):
        zs.build_gallery(photos, tmp_path / "out", HashingEncoder())


@pytest.fixture
def few_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsretrieve.encoding.batches._MOST_SKIPPED", 5)


def damaged(photos: Path, places: Sequence[int]) -> None:
    for place in places:
        for again in range(4):
            (photos / "class 0" / f"{place:04} {again}.png").write_bytes(b"no picture")


@pytest.mark.usefixtures("few_skipped")
def test_skipped_files_are_told_of_before_there_are_pictures_for_a_batch(tmp_path: Path) -> None:
    photos = pictures(tmp_path, 6)
    damaged(photos, range(0, 12, 3))
    made = batches_of(photos, HashingEncoder())
    assert [len(batch.skipped) for batch in made] == [5, 5, 5, 1]
    assert [len(batch.seen) for batch in made] == [0, 0, 0, 6]
    assert [batch.done for batch in made] == [5, 10, 15, 22]
    assert len({one.path for batch in made for one in batch.skipped}) == 16


@pytest.mark.usefixtures("few_skipped")
@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6, 7, 8])
def test_skipped_files_do_not_change_the_batches_of_a_run_taken_up_again(tmp_path: Path, after: int) -> None:
    photos = pictures(tmp_path, 60)
    damaged(photos, range(0, 60, 6))
    whole = batches_of(photos, HashingEncoder())
    done = {path for batch in whole[:after] for path in paths(batch)}
    source = zs.open_source([photos])
    todo = [file for file in source.files if file.path not in done]  # skipped ones are tried again
    rest = list(encode_batches(source, todo, Model.of(HashingEncoder()), Reading(), lambda _: None))
    assert [paths(batch) for batch in rest if batch.seen] == [paths(batch) for batch in whole[after:] if batch.seen]
    assert [len(batch.seen) for batch in whole if batch.seen] == [16, 16, 16, 12]
    assert [batch.done for batch in whole] == sorted(batch.done for batch in whole)


@pytest.mark.usefixtures("few_skipped")
def test_what_was_skipped_is_in_the_manifest_of_an_interrupted_run(tmp_path: Path) -> None:
    zs.build_gallery(pictures(tmp_path / "photos", 4), tmp_path / "out", HashingEncoder())
    (tmp_path / "more" / "class 0").mkdir(parents=True)
    damaged(tmp_path / "more", range(3))

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "encoding images":
            assert (done, total) == (5, 12)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zs.add(tmp_path / "out", tmp_path / "more", HashingEncoder(), on_stage=stop)
    kept = zs.open_gallery(tmp_path / "out")
    assert len(kept.manifest.skipped) == 5
    assert len(kept.items) == 4
