"""Caption retrieval over images and galleries, and captions that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import NEVER, HashingEncoder
from kits.pictures import picture

import zsretrieve as zs
from zsretrieve.evaluation.captions import RANKS, retrieval

N = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in two folders; one has no caption, and one cannot be read."""
    root = tmp_path_factory.mktemp("captioned") / "photos"
    for number in range(N + 1):
        picture(root / ("a" if number % 2 else "b") / f"{number}.png", number)
    (root / "a" / "broken.png").write_bytes(b"no")
    return root


@pytest.fixture(scope="module")
def captions(photos: Path) -> Path:
    rows = [
        {"filepath": "a" if number % 2 else "b", "filename": f"{number}.png", "split": "test" if number < 10 else "val",
         "sentences": [{"raw": f"number {number}"}, {"raw": "a number" if number < 2 else f"picture {number}"}]}
        for number in range(N)
    ]  # fmt: skip
    rows.append({"filepath": "a", "filename": "gone.png", "split": "test", "sentences": [{"raw": "gone"}]})
    rows.append({"filepath": "a", "filename": "broken.png", "split": "test", "sentences": [{"raw": "broken"}]})
    path = photos.parent / "dataset.json"
    path.write_text(json.dumps({"images": rows}))
    return path


@pytest.fixture(scope="module")
def gallery(photos: Path) -> Path:
    zs.build_gallery(photos, photos.parent / "gallery", HashingEncoder())
    return photos.parent / "gallery"


def expected(photos: Path, numbers: range) -> dict[str, object]:
    encoder = HashingEncoder()
    paths = [photos / ("a" if number % 2 else "b") / f"{number}.png" for number in numbers]
    images = encoder.encode_prepared([encoder.prepare(zs.read_image(path)) for path in paths])
    texts = [t for n in numbers for t in (f"number {n}", "a number" if n < 2 else f"picture {n}")]
    owners = np.repeat(np.arange(len(paths)), 2)
    # The order of a gallery, which settles ties.
    order = sorted(range(len(paths)), key=lambda row: paths[row].parts)
    both = retrieval(images[order], encoder.encode_texts(texts), np.argsort(order)[owners], RANKS)
    return {
        f"{name}_recall@{k}": one.recall_at[k]
        for name, one in zip(("image_to_text", "text_to_image"), both, strict=True)
        for k in RANKS
    }


def test_images_and_their_gallery_have_the_same_figures(photos: Path, captions: Path, gallery: Path) -> None:
    reports = [zs.evaluate_captions(source, captions, HashingEncoder(), split="test") for source in (photos, gallery)]
    wanted = expected(photos, range(10))
    for report in reports:
        found = report.to_dict()
        assert {key: found[key] for key in wanted} == wanted
        assert (report.image_to_text.n, report.text_to_image.n) == (10, 20)
        assert found["mean_recall@1"] == (found["image_to_text_recall@1"] + found["text_to_image_recall@1"]) / 2
        assert found["mean_recall"] == pytest.approx(np.mean([found[key] for key in wanted]))
        assert (found["n_captions_without_image"], found["split"], found["model"]) == (
            1 if report is reports[0] else 2,
            "test",
            "hashing-0",
        )
        assert [row["direction"] for row in report.rows()] == ["image to text", "text to image", "mean"]
    assert reports[0].n_images_without_captions == 3
    assert {(one.path, one.reason) for one in reports[0].skipped} == {
        ("dataset.json!/13", "there is no image 'a/gone.png'"), ("a/broken.png", "not a readable image"),
    }  # fmt: skip
    every = zs.evaluate_captions(gallery, captions, HashingEncoder(), ranks=(2,))
    assert every.image_to_text.n == N
    assert set(every.mean_recall_at) == {2}


def test_a_gallery_of_captions_is_not_encoded_again(photos: Path, captions: Path, gallery: Path) -> None:
    out = photos.parent / "captions"
    zs.build_gallery(zs.open_texts(captions, split="test"), out, HashingEncoder())
    of_gallery = zs.evaluate_captions(gallery, out, NEVER)
    assert of_gallery.to_dict() | {"split": "test"} == zs.evaluate_captions(
        gallery, captions, HashingEncoder(), split="test"
    ).to_dict() | {"n_skipped": of_gallery.to_dict()["n_skipped"]}
    with pytest.raises(zs.UsageError, match="these captions are read already"):
        zs.evaluate_captions(gallery, out, split="test")
    with pytest.raises(zs.UsageError, match="is a gallery of texts, not of images"):
        zs.evaluate_captions(out, captions)
    other = photos.parent / "other"
    zs.build_gallery(zs.open_texts(captions), other, HashingEncoder(seed=1))
    with pytest.raises(zs.SpaceMismatchError):
        zs.evaluate_captions(gallery, other)


def test_a_filter_leaves_images_out(captions: Path, gallery: Path) -> None:
    report = zs.evaluate_captions(gallery, captions, HashingEncoder(), where="label = 'a'")
    assert (report.image_to_text.n, report.text_to_image.n, report.where) == (6, 12, "label = 'a'")
    assert report.n_captions_without_image == 14


@pytest.mark.parametrize(
    ("image", "owner"),
    [
        ("a/1.png", "a/1.png"), ("1.png", "a/1.png"), ("photos/a/1.png", "a/1.png"), ("x/photos/a/1.png", "a/1.png"),
        ("b/1.png", "there is no image 'b/1.png'"), ("7.png", "there are several images '7.png'"),
        ("b/7.png", "b/7.png"),
        ("none.png", "there is no image 'none.png'"), ("", "it names no image"), ("/abs/photos/b/2.png", "b/2.png"),
    ],
)  # fmt: skip
def test_how_captions_name_images(tmp_path: Path, image: str, owner: str) -> None:
    for path in ("a/1.png", "b/2.png", "a/7.png", "b/7.png"):
        picture(tmp_path / "photos" / path, ord(path[2]))
    (tmp_path / "a.csv").write_text(f"image,caption\n{image},a star\na/1.png,a cross\n".replace("/abs", str(tmp_path)))
    report = zs.evaluate_captions(tmp_path / "photos", tmp_path / "a.csv", HashingEncoder())
    if owner.endswith(".png"):
        assert report.skipped == ()
        assert report.image_to_text.n == (1 if owner == "a/1.png" else 2)
    else:
        assert [one.reason for one in report.skipped] == [owner]


def test_captions_that_fit_nothing(tmp_path: Path, photos: Path, captions: Path) -> None:
    (tmp_path / "none.csv").write_text("image,caption\nx.jpg,a star\ny.jpg,b\n")
    with pytest.raises(zs.SourceError, match="none of 2 captions describes an image") as caught:
        zs.evaluate_captions(photos, tmp_path / "none.csv", HashingEncoder())
    assert "there is no image 'x.jpg'" in caught.value.message
    (tmp_path / "lines.txt").write_text("a star\n")
    with pytest.raises(zs.SourceError, match="it names no image"):
        zs.evaluate_captions(photos, tmp_path / "lines.txt", HashingEncoder())
    with pytest.raises(zs.RankError, match="at least 1"):
        zs.evaluate_captions(photos, captions, HashingEncoder(), ranks=(0, 5))
    with pytest.raises(zs.SkippedInputError, match=r"gone\.png"):
        zs.evaluate_captions(photos, captions, HashingEncoder(), reading=zs.Reading(strict=True))
