"""Indexes by name: where they are, and which name the gallery of a folder gets."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

import zsretrieve as zs
from zsretrieve.domain.errors import IndexFormatError, OutputExistsError, SourceError, UsageError
from zsretrieve.store.named import folder_of


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_name_stands_for_a_folder_everywhere(data: Path, tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    photos = pictures(tmp_path / "photos", 3)
    zs.build_gallery(photos, "@mine", hashing_encoder)
    zs.build_prototypes("@classes", "red,blue", hashing_encoder)
    assert folder_of("@mine") == data / "indexes" / "mine"
    assert zs.is_index("@mine")
    assert zs.verify("@mine") == []
    assert len(zs.open_gallery("@mine").items) == 3
    assert len(zs.search("@mine", "red", hashing_encoder)) == 3
    assert zs.classify("@mine", "@classes", k=1).results[0].path.startswith(str(photos))
    assert [(index.name, index.folder.name, index.manifest.count) for index in zs.named_indexes()] == [
        ("@classes", "classes", 2), ("@mine", "mine", 3),
    ]  # fmt: skip
    with pytest.raises(OutputExistsError):
        zs.build_gallery(pictures(tmp_path / "other", 2), "@mine", hashing_encoder)
    for name in ("@", "@..", "@a/b"):
        with pytest.raises(IndexFormatError, match="is not the name of an index"):
            zs.open_gallery(name)


def test_a_list_of_paths_is_still_a_list(
    tmp_path: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = pictures(tmp_path / "photos", 3)
    zs.build_gallery(photos, "@list", hashing_encoder)
    monkeypatch.chdir(tmp_path)
    assert len(zs.open_source(["@list"]).files) == 3
    Path("list").write_text(f"{next(photos.rglob('*.png'))}\n")
    assert len(zs.open_source(["@list"]).files) == 1
    assert len(zs.search("@list", "red", hashing_encoder)) == 3, "a search needs a gallery"
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(f"{next(photos.rglob('*.png'))}\n"))
    writer.start()
    assert len(zs.open_source([f"@{tmp_path}/pipe"]).files) == 1
    writer.join()
    with pytest.raises(SourceError, match="the list 'lists/gone' cannot be read"):
        zs.open_source(["@lists/gone"])


def test_the_gallery_of_a_folder_is_built_once_and_then_kept_up_to_date(
    tmp_path: Path, hashing_encoder: HashingEncoder
) -> None:
    photos = pictures(tmp_path / "photos", 3)
    assert zs.gallery_of(photos, hashing_encoder) == "@photos"
    made = zs.read_manifest("@photos")
    assert zs.gallery_of(f"{photos}/", hashing_encoder) == "@photos"
    assert zs.read_manifest("@photos").generation == made.generation, "nothing was to do"
    next(photos.rglob("*.png")).rename(photos / "moved.png")
    pictures(photos / "more", 1)
    zs.gallery_of(photos, hashing_encoder)
    assert zs.read_manifest("@photos").count == 4
    other = pictures(tmp_path / "elsewhere" / "photos", 2)
    assert zs.gallery_of(other, hashing_encoder) == "@photos-2"
    assert zs.read_manifest("@photos").count == 4
    zs.add("@photos", other, hashing_encoder)
    assert zs.gallery_of(photos, hashing_encoder) == "@photos", "also if it follows another source by now"
    with pytest.raises(UsageError, match="is an index already"):
        zs.gallery_of("@photos", hashing_encoder)
    for listed in ("-", "@lists/some", photos / "moved.png"):
        with pytest.raises(UsageError, match="a gallery is built of a folder or an archive of images, not of"):
            zs.gallery_of(listed, hashing_encoder)


def test_an_interrupted_build_is_listed_and_continues_with_its_model(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "encoding images" and done:
            raise KeyboardInterrupt

    photos = pictures(tmp_path / "photos", 120)
    with pytest.raises(KeyboardInterrupt):
        zs.gallery_of(photos, "demo", on_stage=interrupt)
    assert [(index.name, index.manifest.building is None) for index in zs.named_indexes()] == [("@photos", False)]
    with pytest.raises(IndexFormatError, match="the index '@photos' is not finished") as caught:
        zs.open_gallery("@photos")
    assert caught.value.hint == f"Continue with: zsretrieve index gallery {photos} @photos --model demo"
    zs.gallery_of(photos)
    assert zs.read_manifest("@photos").space.model == "demo"
    assert [(index.name, index.manifest.building is None) for index in zs.named_indexes()] == [("@photos", True)]


def test_an_exclusion_concerns_sources_that_are_open_already(tmp_path: Path, hashing_encoder: HashingEncoder) -> None:
    photos = pictures(tmp_path / "photos", 3)
    (tmp_path / "list").write_bytes(b"\0".join(os.fsencode(path) for path in sorted(photos.rglob("*.png"))) + b"\0")
    source = zs.open_source(f"@{tmp_path}/list", null=True)
    gallery = zs.build_gallery(source, tmp_path / "g", hashing_encoder, exclude="0000.png")
    assert len(source.files) == 3
    assert len(gallery.items) == 2
    assert gallery.manifest.exclude == ("0000.png",)
