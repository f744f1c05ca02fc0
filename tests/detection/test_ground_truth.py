"""Ground truths of objects: COCO's JSON, how images are recognised, and what counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.owl import write_owl
from PIL import Image

import zsretrieve as zs
from zsretrieve.detection.ground_truth import GroundTruth
from zsretrieve.domain.detections import DetectedImage, Detection


def content(**more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": name} for n, name in ((3, "val/1.jpg"), (0, "2.jpg"), (9, "9.jpg"))],
        "categories": [{"id": 5, "name": "Red Star"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 5, "bbox": [10, 20, 50, 40], "area": 1},
            {"id": 1, "image_id": 0, "category_id": 5, "bbox": [0, 0, 10, 10], "area": 1},
            {"id": 2, "image_id": 0, "category_id": 5, "bbox": [0, 0, 99, 99], "iscrowd": 1},
            {"id": 3, "image_id": 9, "category_id": 5, "bbox": [0, 0, 10, 10]},
            {"id": 4, "image_id": 3, "category_id": 2, "bbox": [0, 0, 10, 10]},
        ],
        **more,
    }  # fmt: skip


def written(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def detected(path: str, *boxes: tuple[float, ...]) -> DetectedImage:
    found = tuple(Detection(0, "red_star", 0.9 - number / 10, box) for number, box in enumerate(boxes))
    return DetectedImage(path, 100, 100, found)


def test_figures_of_what_is_here_and_in_the_ground_truth(tmp_path: Path) -> None:
    truth = GroundTruth.read(written(tmp_path / "truth.json", content()))
    images = [
        detected("/photos/val/1.jpg", (0.1, 0.2, 0.6, 0.6)),
        detected("/photos/2.jpg"),
        detected("/photos/other.jpg", (0, 0, 1, 1)),
        detected("/copy/2.jpg", (0, 0, 0.1, 0.1)),  # as the second: the first of them counts
    ]
    figures = truth.compare(images, ["red_star", "CAT"])
    star, cat = figures.classes
    assert (star.class_name, star.n_objects, cat.class_name, cat.n_objects) == ("red_star", 2, "CAT", 1)
    assert (star.ap, star.ap50, star.ap75) == pytest.approx((51 / 101,) * 3)  # one of two, without a mistake
    assert cat.ap == 0
    assert figures.ap == pytest.approx(51 / 202)
    assert (figures.n_images, figures.n_objects, figures.n_unknown, figures.n_missing) == (2, 3, 2, 1)
    assert truth.results(images)[0] == {
        "image_id": 3, "category_id": 5, "bbox": pytest.approx([10, 20, 50, 40]), "score": 0.9
    }  # fmt: skip
    only = truth.compare(images[1:2], ["cat"])
    assert (only.ap, only.classes[0].ap, only.n_objects) == (None, None, 0)
    assert repr(only) == "AveragePrecision(none of 0 objects in 1 image)"


def test_images_by_the_end_of_their_paths(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a/1.jpg"},
        {"id": 2, "file_name": "b/1.jpg"},
        {"id": 3, "file_name": "2.jpg"},
        {"id": 4, "file_name": "c/2.jpg"},
    ]
    truth = GroundTruth.read(written(tmp_path / "truth.json", content(images=images)))
    names = ["/x/a/1.jpg", "b/1.jpg", "1.jpg", "/x/c/2.jpg", "z/2.jpg", "photos.tar!/a/1.jpg", "3.jpg"]
    assert [truth.image_id(name) for name in names] == [1, 2, None, 4, 3, 1, None]
    # What is named by its whole path comes before what only ends alike.
    only = GroundTruth.read(written(tmp_path / "one.json", content(images=[{"id": 7, "file_name": "val/1.jpg"}])))
    both = [DetectedImage(f"{folder}/1.jpg", 9, 9, ()) for folder in ("train", "val")]
    assert only._known(both) == {7: both[1]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not a ground truth of objects"),
        ("[1, 2]", "is not a ground truth of objects"),
        ({"images": []}, "it has no 'categories'"),
        (content(annotations=[{"bbox": [1, 2, 3]}]), "is not a ground truth of objects"),
        (content(annotations=[{"image_id": 1, "category_id": 2, "bbox": "x"}]), "is not a ground truth of objects"),
        (content(annotations=[]), "has no annotation with a bbox"),
        (content(annotations=[{"image_id": 1, "category_id": 2}]), "has no annotation with a bbox"),
    ],
)
def test_what_is_not_a_ground_truth(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(zs.SourceError, match=message):
        GroundTruth.read(written(tmp_path / "truth.json", value))


def test_a_whole_evaluation(tmp_path: Path) -> None:
    """What was found is the ground truth of a second run, which finds all of it."""
    model = zs.DetectionModel(f"local-dir:{write_owl('owlvit', tmp_path / 'owl')}", zs.Compute("cpu", "fp32"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    ask: dict[str, Any] = {"classes": ["red circle", "cat"], "limits": zs.BoxLimits(0.05, 0.3, 4)}
    found = zs.detect(photos, model, **ask)
    truth = written(
        tmp_path / "truth.json",
        {
            "images": [{"id": n, "file_name": Path(one.path).name} for n, one in enumerate(found.images)],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "red circle"}],
            "annotations": [
                {"image_id": n, "category_id": 2 - one.class_id, "bbox": image.pixels(one)}
                for n, image in enumerate(found.images)
                for one in image.detections
            ],
        },
    )
    outputs = zs.DetectionOutputs(tmp_path / "report.html", tmp_path / "results.json")
    figures = zs.detect(photos, model, ground_truth=truth, outputs=outputs, **ask).average_precision
    assert figures is not None
    assert figures.ap == pytest.approx(1)
    assert figures.n_objects == len(found.rows()) > 0
    assert {one["image_id"] for one in json.loads((tmp_path / "results.json").read_text())} <= {0, 1, 2}
    assert "1.0000" in (tmp_path / "report.html").read_text()
    with pytest.raises(zs.ClassMappingError, match="has no category for 'dog'") as refused:
        zs.detect(photos, model, classes=["cat", "dog"], ground_truth=truth)
    assert refused.value.hint == "It has: cat, red circle."
    with pytest.raises(zs.SourceError, match="names none of the images"):
        zs.detect(tmp_path / "photos" / "0.png", model, ground_truth=written(tmp_path / "other.json", content(
            categories=[{"id": 5, "name": "cat"}])), classes=["cat"])  # fmt: skip
