"""The files of approximate indexes: what finds damage, deaths while they are made, and machines without FAISS."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from kits.candidates import DIM, KIND, N, file_of, set_effort
from kits.hashing_encoder import HashingEncoder
from kits.processes import in_process, with_small_files
from kits.vector_gallery import put

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.errors import IntegrityError
from zsretrieve.store import files
from zsretrieve.store import manifest as manifests
from zsretrieve.system import extras


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
    set_effort(gallery, depth=77)
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
