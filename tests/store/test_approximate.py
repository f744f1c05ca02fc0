"""The files of approximate indexes: what opens them, what finds damage, and deaths while they are made."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from kits.calibrated import calibrated
from kits.processes import in_process, with_small_files
from kits.vector_gallery import put, vector_gallery

import zsretrieve as zs
from zsretrieve.backends import faiss_kinds
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.errors import IndexVersionError, IntegrityError, UsageError
from zsretrieve.domain.kinds import Effort
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.store import files, making
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import gallery_rows
from zsretrieve.system import extras

N, DIM = 3000, 32
KIND = "IVF16,SQ8"
FILE = "segments/0123456789ab/approximate.faiss"


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return calibrated(N, DIM, 20).images


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    out = vector_gallery(tmp_path_factory.mktemp("approximate") / "gallery", vectors)
    zs.set_index_kind(out, KIND)
    return out


@pytest.fixture
def gallery(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "gallery"))


def file_of(gallery: Path) -> Path:
    approximate = zs.read_manifest(gallery).approximate
    assert approximate is not None
    (file,) = approximate.files
    return gallery / file


def test_an_index_with_one_is_of_version_4_and_any_other_of_version_2(gallery: Path) -> None:
    content = json.loads((gallery / manifests.NAME).read_bytes())
    assert (content["format_version"], content["factory"]) == (4, KIND)
    assert content["approximate"] == {
        "kind": KIND, "trained": N, "added": 0, "memory": None,
        "effort": {"depth": 400, "probes": 16, "ef": None, "exact_below": 20_000},
        "parts": [
            {
                "file": file_of(gallery).relative_to(gallery).as_posix(),
                "covers": [{"name": content["segments"][0]["name"], "rows": N, "start": 0}],
            }
        ],
    }  # fmt: skip
    zs.set_index_kind(gallery, "Flat")
    content = json.loads((gallery / manifests.NAME).read_bytes())
    assert (content["format_version"], content["factory"]) == (2, "Flat")
    assert "approximate" not in content
    assert not list(gallery.rglob("approximate.faiss"))
    assert zs.verify(gallery) == []


def test_a_manifest_of_version_3_is_read_and_written_as_4(gallery: Path) -> None:
    """It has no counts of what changed since."""
    made = zs.read_manifest(gallery)
    content = manifests.to_dict(made) | {"format_version": 3}
    del content["approximate"]["added"]
    write(gallery, content)
    assert zs.read_manifest(gallery) == made
    assert json.loads(manifests.to_bytes(zs.read_manifest(gallery)))["format_version"] == 4
    zs.remove(gallery, where="id < 5")
    assert json.loads((gallery / manifests.NAME).read_bytes())["format_version"] == 4


@pytest.mark.parametrize("version", [2, 5])
def test_a_manifest_of_another_version_is_refused(gallery: Path, version: int) -> None:
    write(gallery, manifests.to_dict(zs.read_manifest(gallery)) | {"format_version": version})
    with pytest.raises(IndexVersionError if version == 5 else zs.IndexFormatError, match="format version"):
        zs.read_manifest(gallery)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parts", []),
        ("parts", [{"file": "../x", "covers": [{"name": "a", "rows": 1}]}]),
        ("parts", [{"file": FILE, "covers": [{"name": "a", "rows": -1}]}]),
        ("parts", [{"file": FILE, "covers": [{"name": "a", "rows": 3, "start": -1}]}]),
        (
            "parts",
            [
                {"file": FILE, "covers": [{"name": "a", "rows": 5}]},
                {"file": FILE, "covers": [{"name": "a", "rows": 1, "start": 4}]},
            ],
        ),
        ("effort", {"depth": 0}),
        ("effort", {"depth": 1, "ef": 0}),
    ],
)
def test_odd_values_are_refused(gallery: Path, key: str, value: object) -> None:
    content = manifests.to_dict(zs.read_manifest(gallery))
    content["approximate"][key] = value
    write(gallery, content)
    with pytest.raises(zs.IndexFormatError, match="damaged"):
        zs.read_manifest(gallery)


def test_no_part_holds_more_rows_than_its_segment(gallery: Path) -> None:
    content = manifests.to_dict(zs.read_manifest(gallery))
    content["approximate"]["parts"][0]["covers"][0]["start"] = 1
    write(gallery, content)
    with pytest.raises(zs.IndexFormatError, match=r"does not hold rows of segment '[0-9a-f]{12}' once each"):
        zs.read_manifest(gallery)


def test_a_gallery_from_before_there_were_parts_opens(gallery: Path, vectors: np.ndarray) -> None:
    manifest = zs.read_manifest(gallery)
    content = manifests.to_dict(manifest)
    (part,) = content["approximate"].pop("parts")
    del part["covers"][0]["start"]
    content["approximate"] |= part
    write(gallery, content)
    assert zs.read_manifest(gallery) == manifest
    rows, is_exact = zs.open_gallery(gallery, device="cpu").nearest(vectors[:3], 1)
    assert (rows[:, 0].tolist(), is_exact.any()) == ([0, 1, 2], False)
    assert zs.verify(gallery) == []


def write(gallery: Path, content: dict[str, Any]) -> None:
    """Write another manifest, with the digest that it needs."""
    content.pop("digest")
    (gallery / manifests.NAME).write_bytes(manifests._canonical(content | {"digest": manifests._digest(content)}))


def tune(gallery: Path, **effort: int) -> None:
    """Set some of the effort that the manifest names."""
    with writing(gallery) as writer:
        manifest = writer.manifest
        assert manifest is not None
        assert manifest.approximate is not None
        made = manifest.approximate
        writer.commit(replace(manifest, approximate=replace(made, effort=replace(made.effort, **effort))))


def test_setting_the_same_kind_again_makes_it_again(gallery: Path) -> None:
    before, manifest = file_of(gallery), zs.read_manifest(gallery)
    tune(gallery, depth=77)
    zs.set_index_kind(gallery, KIND)
    assert file_of(gallery) != before
    assert not before.exists()
    assert zs.read_manifest(gallery).approximate.effort.depth == 77, "the effort stays"
    assert zs.read_manifest(gallery).segments == manifest.segments


def test_another_index_is_the_same_revision(gallery: Path) -> None:
    before = zs.open_gallery(gallery, device="cpu").revision
    zs.set_index_kind(gallery, KIND)
    assert zs.open_gallery(gallery, device="cpu").revision == before


def test_nothing_is_committed_that_no_reader_opens(gallery: Path) -> None:
    before = (gallery / manifests.NAME).read_bytes()
    with pytest.raises(ValueError, match="looks at nothing"):
        tune(gallery, probes=0)
    assert (gallery / manifests.NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "said"),
    [("IVF1024,Flat", "needs 39,936 or more images, and there are 3,000"), ("nonsense", "'nonsense' is not supported"),
     ("IVF16,PQ7x4fsr", "does not fit vectors of 32 dimensions"), ("IVF0,Flat", "not supported")],
)  # fmt: skip
def test_kinds_that_cannot_be(gallery: Path, kind: str, said: str) -> None:
    before = (gallery / manifests.NAME).read_bytes()
    with pytest.raises(UsageError, match=said) as caught:
        zs.set_index_kind(gallery, kind)
    assert caught.value.hint
    assert (gallery / manifests.NAME).read_bytes() == before


def test_rows_of_removed_images_do_not_count(gallery: Path) -> None:
    zs.remove(gallery, where="id >= 1600")
    with pytest.raises(UsageError, match="needs 1,950 or more images, and there are 1,600"):
        zs.set_index_kind(gallery, "IVF50,SQ8")


@pytest.mark.parametrize("kind", ["IVF4,RQ2x4", "IVF4,PRQ2x2x4", "PQ16x4fs"])
def test_a_trial_finds_what_ignores_filters(vectors: np.ndarray, kind: str) -> None:
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:400])
    index.add(vectors[:400])
    with pytest.raises(UsageError, match="cannot leave out removed and filtered images"):
        faiss_kinds.try_selector(index, kind, vectors[:8], Effort(10, probes=4))


def test_a_refusal_of_the_index_is_damage(tmp_path: Path, vectors: np.ndarray) -> None:
    index = faiss.index_factory(DIM, "PQ16x4fs", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:400])
    index.add(vectors[:400])
    faiss.write_index(index, str(tmp_path / "other.faiss"))
    other = FaissBackend("cpu").load_candidates(tmp_path / "other.faiss")
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        other.candidates(vectors[:1], 10, Effort(10), np.arange(400) < 200)
    assert "index repair" in str(caught.value.hint)


def test_an_emptied_gallery_gets_it_back_with_its_images(gallery: Path, vectors: np.ndarray) -> None:
    zs.remove(gallery, where="id >= 0")
    assert (zs.read_manifest(gallery).count, zs.read_manifest(gallery).factory) == (0, KIND)
    assert zs.verify(gallery) == []
    put(gallery, vectors[:700])
    assert zs.read_manifest(gallery).approximate.rows == 700
    assert zs.verify(gallery) == []


def test_a_gallery_that_is_too_small_by_now_is_searched_exactly(
    gallery: Path, vectors: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    zs.remove(gallery, where="id >= 500")
    assert not caplog.records
    put(gallery, {number: vectors[1000 + number] for number in range(500)})
    assert "needs 624 or more images, and there are 500, so the approximate index stays as it is" in caplog.text
    assert zs.verify(gallery) == []
    rows, is_exact = zs.open_gallery(gallery, device="cpu").nearest(vectors[1000:1009], 1)
    assert rows[:, 0].tolist() == list(range(9))
    assert is_exact.all()


def test_auto_leaves_a_small_gallery_exact(gallery: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "zsretrieve"):
        assert zs.set_index_kind(gallery, "auto").factory == "Flat"
    assert caplog.messages == ["the index kind for 3,000 images is Flat: up to 200,000 are compared one by one"]


def test_a_renewal_that_a_death_left_undone_is_made_by_the_next_sync(
    gallery: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_of(gallery)
    with monkeypatch.context() as patched:
        patched.setattr(making, "renewed", lambda writer, manifest, *_, **__: manifest.approximate)
        put(gallery, vectors[:400])
    assert file_of(gallery) == before
    stages: list[str] = []
    with writing(gallery) as writer:
        builder = GalleryBuilder(writer, *gallery_rows(writer), FaissBackend("cpu"))
        builder.finish(on_stage=lambda stage, *_: stages.append(stage))
    assert set(stages) == {"filling the index"}, "it gets a part with what was trained before"
    assert zs.read_manifest(gallery).approximate.rows == N + 400
    assert zs.verify(gallery) == []


def test_an_index_that_is_replaced_while_it_is_opened_is_not_damage(
    gallery: Path, monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray
) -> None:
    opened = zs.open_gallery(gallery, device="cpu")
    path = file_of(gallery)

    def read(*_: object) -> None:
        path.unlink()
        raise RuntimeError("could not open")

    monkeypatch.setattr(faiss, "read_index", read)
    rows, is_exact = opened.nearest(vectors[:3], 1)
    assert rows[:, 0].tolist() == [0, 1, 2]
    assert is_exact.all()


@pytest.mark.parametrize("at", [2, 600, -3])
def test_a_flipped_bit_is_found_and_repaired(gallery: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(gallery, depth=77)
    path = file_of(gallery)
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    assert any("approximate.faiss" in problem for problem in zs.verify(gallery))
    with pytest.raises(IntegrityError):
        zs.open_gallery(gallery, device="cpu")
    before = (zs.read_manifest(gallery).segments, zs.read_manifest(gallery).index)
    assert zs.repair(gallery).done == (f"the index {KIND} is made again from the vectors",)
    assert (zs.read_manifest(gallery).segments, zs.read_manifest(gallery).index) == before
    assert zs.read_manifest(gallery).approximate.effort.depth == 77
    assert zs.verify(gallery) == []


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_file_that_is_not_whole(gallery: Path, how: str) -> None:
    path = file_of(gallery)
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match=r"approximate\.faiss"):
        zs.open_gallery(gallery, device="cpu")
    zs.repair(gallery)
    assert zs.verify(gallery) == []


def test_a_repair_of_vectors_makes_it_again(gallery: Path, vectors: np.ndarray) -> None:
    put(gallery, vectors[:100])
    segment = zs.read_manifest(gallery).segments[1].name
    with open(gallery / "segments" / segment / "vectors.npy", "r+b") as file:
        file.seek(500)
        file.write(b"junk")
    done = zs.repair(gallery, encode=False)
    assert done.n_lost == 100
    assert done.done[-1] == f"the index {KIND} is made again from the vectors"
    opened = zs.open_gallery(gallery, device="cpu")
    assert opened.approximate is not None
    assert opened.approximate.covered == N
    assert zs.verify(gallery) == []


def write_index(vectors: np.ndarray, path: Path) -> None:
    """Write an index of other rows."""
    FaissBackend("cpu").train_candidates(KIND, DIM, [vectors], len(vectors)).write([vectors], path)


def other_file(gallery: Path, content: bytes) -> None:
    """Another file under the digest of this one, as a careless program may write it."""
    path = file_of(gallery)
    path.write_bytes(content)
    manifest = manifests.to_dict(zs.read_manifest(gallery))
    entry = files.entry_of(path)
    manifest["files"][path.relative_to(gallery).as_posix()] = vars(entry)
    del manifest["digest"]
    manifest["digest"] = manifests._digest(manifest)
    for name in (manifests.NAME, manifests.COPY):
        (gallery / name).write_bytes(manifests._canonical(manifest))


def test_a_file_of_other_content_is_found_though_its_digest_matches(
    gallery: Path, tmp_path: Path, vectors: np.ndarray
) -> None:
    write_index(vectors[:2000], tmp_path / "other")
    for content, said in {b"junk" * 100: "damaged", (tmp_path / "other").read_bytes(): "3000 rows of 32"}.items():
        other_file(gallery, content)
        assert any(said in problem for problem in zs.verify(gallery)), zs.verify(gallery)
        opened = zs.open_gallery(gallery, device="cpu")
        with pytest.raises(IntegrityError, match=said):
            opened.nearest(vectors[:1], 3)
    zs.repair(gallery)
    assert zs.verify(gallery) == []


def test_a_deep_verification_asks_whether_images_are_found(gallery: Path, tmp_path: Path, vectors: np.ndarray) -> None:
    from kits.hashing_encoder import HashingEncoder

    encoder = HashingEncoder(DIM)
    assert zs.verify_deep(gallery, encoder, sample=200).damages == ()
    write_index(vectors[::-1].copy(), tmp_path / "other")
    other_file(gallery, (tmp_path / "other").read_bytes())
    (damage,) = zs.verify_deep(gallery, encoder, sample=200).damages
    assert "of 200 images by their own vectors" in damage.message
    assert f"index kind GALLERY {KIND}" in damage.message
    zs.set_index_kind(gallery, KIND)
    assert zs.verify_deep(gallery, encoder, sample=200).damages == ()


def dying(gallery: Path) -> None:
    """Make an index, and end without a word when it is half written."""
    import os

    real = faiss.write_index

    def write(index: object, path: object, *more: object) -> None:
        if isinstance(path, str):  # and not into memory
            Path(path).write_bytes(b"half")
            os._exit(9)
        real(index, path, *more)

    faiss.write_index = write
    zs.set_index_kind(gallery, "HNSW8")


def test_a_death_while_it_is_made_leaves_the_index_of_before(gallery: Path) -> None:
    before = (gallery / manifests.NAME).read_bytes()
    with pytest.raises(EOFError):
        in_process(dying, gallery)
    assert (gallery / manifests.NAME).read_bytes() == before
    assert len(list(gallery.rglob("approximate.faiss"))) == 2
    assert zs.verify(gallery) == []  # as a writer it also deletes what the dead one left
    assert list(gallery.rglob("approximate.faiss")) == [file_of(gallery)]


def test_a_full_disk_keeps_the_index_of_before(gallery: Path) -> None:
    before = (gallery / manifests.NAME).read_bytes()
    told = in_process(with_small_files, 200_000, zs.set_index_kind, gallery, "HNSW32")
    assert "cannot be written" in told
    assert (gallery / manifests.NAME).read_bytes() == before
    assert zs.verify(gallery) == []


def test_without_faiss_it_is_searched_exactly_and_kept(
    gallery: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extras, "has_faiss", lambda: False)
    before = zs.read_manifest(gallery).approximate
    opened = zs.open_gallery(gallery, device="cpu")
    for _ in range(2):
        rows, is_exact = opened.nearest(vectors[:3], 1)
        assert rows[:, 0].tolist() == [0, 1, 2]
        assert is_exact.all()
    assert len(caplog.messages) == 1
    assert "needs FAISS, so images are compared one by one" in caplog.messages[0]
    put(gallery, vectors[:400])
    assert zs.read_manifest(gallery).approximate == replace(before, added=400)
    assert len(caplog.messages) == 2
    assert zs.verify(gallery) == []
    assert len(caplog.messages) == 2, "a verification compares no images"
    with pytest.raises(zs.OptionalDependencyError, match="the index kind 'HNSW8' needs FAISS"):
        zs.set_index_kind(gallery, "HNSW8")
    assert zs.set_index_kind(gallery, "Flat").approximate is None
