"""The files of approximate indexes: what opens them, and which are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from kits.candidates import DIM, KIND, N, file_of, set_effort
from kits.vector_gallery import put

import zsretrieve as zs
from zsretrieve.backends import faiss_kinds
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain.errors import IndexVersionError, IntegrityError, UsageError
from zsretrieve.domain.kinds import Effort
from zsretrieve.gallery.ingest import GalleryBuilder
from zsretrieve.store import making
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import writing
from zsretrieve.store.indexes import gallery_rows

FILE = "segments/0123456789ab/approximate.faiss"


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


@pytest.mark.parametrize("version", [2, 5, 6])
def test_a_manifest_of_another_version_is_refused(gallery: Path, version: int) -> None:
    write(gallery, manifests.to_dict(zs.read_manifest(gallery)) | {"format_version": version})
    with pytest.raises(IndexVersionError if version == 6 else zs.IndexFormatError, match="format version"):
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


def test_setting_the_same_kind_again_makes_it_again(gallery: Path) -> None:
    before, manifest = file_of(gallery), zs.read_manifest(gallery)
    set_effort(gallery, depth=77)
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
        set_effort(gallery, probes=0)
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
