"""Finding objects: sources, skips, the cache, what is written, and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.owl import write_owl
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.detections import DetectedImage, Detection
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.vectors import Vectors

LOW = zs.BoxLimits(0.05)
CLASSES = ["a cat", "red circle"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> zs.DetectionModel:
    folder = write_owl("owlv2", tmp_path_factory.mktemp("owl") / "model", seed=1)
    return zs.DetectionModel(f"local-dir:{folder}", zs.Compute("cpu", "fp32", batch_size=3))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that no other test shares."""
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch, model: zs.DetectionModel) -> list[int]:
    """How many images the model has looked at, a number for each call."""
    counts: list[int] = []
    detector = model.load()
    detect = detector.detect

    def counted(batch: Sequence[Pixels], queries: Vectors) -> Any:
        counts.append(len(batch))
        return detect(batch, queries)

    monkeypatch.setattr(detector, "detect", counted)
    return counts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images that no other test looks at, one of them twice, and one that cannot be read."""
    rng = np.random.default_rng(abs(hash(str(tmp_path))))
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(5):
        pixels = rng.integers(0, 256, (40 + number, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    (root / "copy.png").write_bytes((root / "0.png").read_bytes())
    (root / "broken.png").write_bytes(b"no")
    return root


def test_batches_copies_and_skips(folder: Path, model: zs.DetectionModel, batches: list[int]) -> None:
    stages = []
    found = zs.detect(
        folder, model, classes=CLASSES, limits=LOW, on_stage=lambda name, done, total: stages.append((name, total))
    )
    assert sorted(batches) == [2, 3]
    assert [Path(one.path).name for one in found.images] == ["0.png", "1.png", "2.png", "3.png", "4.png", "copy.png"]
    assert found.images[0].detections == found.images[-1].detections
    assert [(Path(one.path).name, one.reason) for one in found.skipped] == [("broken.png", "not a readable image")]
    assert ("finding objects", 7) in stages
    assert found.root == str(folder)
    assert found.model == model.name
    assert all(list(image.detections) == sorted(image.detections, key=lambda one: -one.score) for image in found.images)


def test_a_second_run_needs_no_model(folder: Path, model: zs.DetectionModel, batches: list[int]) -> None:
    found = zs.detect(folder, model, classes=CLASSES, limits=zs.BoxLimits(0.2))
    seen = sum(batches)
    fresh = zs.DetectionModel(model.name, model.compute)
    # Another threshold and another overlap: less is kept of the same boxes.
    again = zs.detect(folder, fresh, classes=CLASSES, limits=zs.BoxLimits(0.2))
    assert again == found
    every = zs.detect(folder, fresh, classes=CLASSES, limits=zs.BoxLimits(0.1, 1.0))
    assert len(every.rows()) >= len(found.rows())
    assert fresh._detector is None
    (folder / "1.png").rename(folder / "renamed.png")
    assert len(zs.detect(folder, fresh, classes=CLASSES).images) == 6
    assert fresh._detector is None
    zs.detect(folder, model, classes=CLASSES, limits=zs.BoxLimits(0.05))
    zs.detect(folder, model, classes=[*CLASSES, "dog"])
    assert sum(batches) == 3 * seen


def test_an_interrupted_run_picks_up_where_it_left_off(
    folder: Path, model: zs.DetectionModel, batches: list[int]
) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if name == "finding objects" and done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zs.detect(folder, model, classes=CLASSES, limits=LOW, on_stage=stop)
    cached, before = zs.cached_detections()[0], sum(batches)
    assert 3 <= cached < 5
    found = zs.detect(folder, model, classes=CLASSES, limits=LOW)
    assert sum(batches) - before == 5 - cached
    assert zs.cached_detections()[0] == 5
    zs.clear_cache()
    assert zs.cached_detections() == (0, 0)
    assert len(zs.detect(folder, model, classes=CLASSES, limits=LOW).rows()) == len(found.rows())


def test_prompts_are_encoded_once(folder: Path, model: zs.DetectionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, texts = model.load(), []
    encode = detector.encode_texts
    monkeypatch.setattr(detector, "encode_texts", lambda some: texts.extend(some) or encode(some))
    found = zs.detect(folder, model, classes=["cat", "dog"], templates=["a {}", "the {}"], limits=LOW)
    assert len(found.images) == 6
    assert sorted(texts) == ["a cat", "a dog", "the cat", "the dog"]


def test_strict(folder: Path, model: zs.DetectionModel) -> None:
    with pytest.raises(zs.SkippedInputError, match=r"broken\.png"):
        zs.detect(folder, model, classes=CLASSES, reading=zs.Reading(strict=True))


def test_archives_lists_and_galleries(folder: Path, tmp_path: Path, model: zs.DetectionModel) -> None:
    expected = [one.detections for one in zs.detect(folder, model, classes=CLASSES, limits=LOW).images]
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    zipped = zs.detect(tmp_path / "photos.zip", model, classes=CLASSES, limits=LOW)
    assert [one.detections for one in zipped.images] == expected
    assert zipped.images[0].path == f"{tmp_path}/photos.zip!/0.png"
    assert len(zipped.skipped) == 1
    gallery = zs.build_gallery(folder, tmp_path / "gallery", HashingEncoder())
    of_gallery = zs.detect(tmp_path / "gallery", model, classes=CLASSES, limits=LOW)
    assert [one.detections for one in of_gallery.images] == expected
    assert [one.path for one in of_gallery.images] == [gallery.path_of(item) for item in gallery.items]
    listed = zs.detect([folder / "2.png", folder / "1.png"], model, classes=CLASSES, limits=LOW)
    assert [one.detections for one in listed.images] == [expected[2], expected[1]]


def test_boxes_are_of_the_upright_image(tmp_path: Path, model: zs.DetectionModel) -> None:
    image = Image.fromarray(np.random.default_rng(8).integers(0, 256, (40, 90, 3), dtype=np.uint8))
    image.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned, upright = zs.detect(tmp_path, model, classes=CLASSES, limits=LOW).images
    assert (turned.width, turned.height) == (90, 40)
    for one, other in zip(turned.detections, upright.detections, strict=True):
        assert one.class_id == other.class_id
        assert (one.score, *one.box) == pytest.approx((other.score, *other.box), abs=1e-5)


def test_json_has_pixels_and_csv_rows(tmp_path: Path) -> None:
    one = Detection(1, "star", 0.75, (0.1, 0.25, 0.5, 1.0))
    image = DetectedImage("/photos/1.jpg", 200, 100, (one,))
    found = zs.Detections(("circle", "star"), (image, DetectedImage("/photos/2.jpg", 3, 4, ())), ())
    box = {"class_id": 1, "class_name": "star", "score": 0.75, "box": [20.0, 25.0, 80.0, 75.0]}
    assert found.to_dict()["images"] == [
        {"path": "/photos/1.jpg", "width": 200, "height": 100, "detections": [box]},
        {"path": "/photos/2.jpg", "width": 3, "height": 4, "detections": []},
    ]
    assert found.rows() == [
        {"path": "/photos/1.jpg", "class_id": 1, "class_name": "star", "score": 0.75,
         "left": 20.0, "top": 25.0, "width": 80.0, "height": 75.0}
    ]  # fmt: skip
    assert repr(found) == "Detections(1 object in 1 of 2 images, 0 skipped)"
    annotations = found.annotations()
    assert annotations.has_boxes
    assert annotations.class_names == ("circle", "star")
    assert annotations.images[0].annotations[0].box == one.box
    assert annotations.images[0].annotations[0].confidence == 0.75


def test_results_and_report(folder: Path, tmp_path: Path, model: zs.DetectionModel) -> None:
    (folder / "<b>.png").write_bytes((folder / "1.png").read_bytes())
    outputs = zs.DetectionOutputs(tmp_path / "report.html", tmp_path / "results.json", images=3)
    found = zs.detect(folder, model, classes=["<cat>", "dog"], limits=LOW, outputs=outputs)
    with pytest.raises(zs.OutputExistsError, match="already a list of results"):
        zs.detect(folder, model, classes=["<cat>", "dog"], limits=LOW, outputs=outputs)
    again = replace(outputs, force=True)
    assert zs.detect(folder, model, classes=["<cat>", "dog"], limits=LOW, outputs=again).images == found.images
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results) == len(found.rows()) > 0
    first = found.images[0].detections[0]
    assert results[0]["image_id"] == 1
    assert results[0]["category_id"] == first.class_id + 1
    assert results[0]["bbox"] == pytest.approx(found.images[0].pixels(first), abs=1e-4)
    page = (tmp_path / "report.html").read_text()
    shown = [image for image in found.images if image.detections]
    assert page.count("data:image/jpeg;base64,") == 3 < len(shown)
    assert f"The first 3 of {len(shown)} images with objects." in page
    assert page.count("<rect ") == sum(len(image.detections) for image in shown[:3])
    assert "&lt;cat&gt;" in page
    assert "<cat>" not in page
    assert "<b>.png" not in page
    assert "1 skipped" in page


def test_outputs_are_checked_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    (tmp_path / "mine.html").write_text("mine")
    for outputs in (zs.DetectionOutputs(None, tmp_path / "mine.json"), zs.DetectionOutputs(tmp_path / "mine.html")):
        with pytest.raises(zs.OutputExistsError):
            zs.detect(folder, "local-dir:nowhere", classes=CLASSES, outputs=outputs)
    with pytest.raises(zs.UsageError, match="two outputs"):
        zs.detect(folder, classes=CLASSES, outputs=zs.DetectionOutputs(tmp_path / "x", tmp_path / "x"))


@pytest.mark.parametrize(
    ("text", "image", "box", "label"),
    [
        ("dir/a.jpg", "dir/a.jpg", None, "dir/a.jpg"),
        ("a.jpg[1,2,30,4.5]", "a.jpg", (1, 2, 30, 4.5), "a.jpg[1,2,30,4.5]"),
        ("my cat=a.jpg[1,2,3,4]", "a.jpg", (1, 2, 3, 4), "my cat"),
        ("cat=a.jpg", "a.jpg", None, "cat"),
        ("dir/x=a.jpg", "dir/x=a.jpg", None, "dir/x=a.jpg"),
        ("https://x.org/a.jpg?k=v", "https://x.org/a.jpg?k=v", None, "https://x.org/a.jpg?k=v"),
        ("photos.zip!/a.jpg[0,0,5,5]", "photos.zip!/a.jpg", (0, 0, 5, 5), "photos.zip!/a.jpg[0,0,5,5]"),
    ],
)
def test_examples_as_they_are_written(text: str, image: str, box: Any, label: str) -> None:
    example = zs.Example.parse(text)
    assert (example.image, example.box, example.label) == (image, box, label)


def test_a_file_of_that_very_name_is_the_whole_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat=a.jpg", "a.jpg[1,2,3,4]"):
        (tmp_path / name).touch()
        assert zs.Example.parse(name) == zs.Example(name)
    assert zs.Example.parse("x=a.jpg[1,2,3,4]") == zs.Example("a.jpg[1,2,3,4]", None, "x")


@pytest.mark.parametrize("box", ["[]", "[1,2,3]", "[1,2,3,4,5]", "[a,b,c,d]", "[-1,0,5,5]", "[0,0,0,5]", "[nan,0,5,5]"])
def test_what_is_not_a_box(box: str) -> None:
    with pytest.raises(zs.QueryError, match=r"is not a box in 'a\.jpg'"):
        zs.Example.parse(f"a.jpg{box}")


def test_examples_are_refused_before_the_model_is_loaded(folder: Path, model: zs.DetectionModel) -> None:
    fresh = zs.DetectionModel(model.name, model.compute)
    one = folder / "0.png"  # 60 x 40 pixels
    for like, message in [
        (f"{one}[50,0,11,10]", "reaches beyond the image, which has 60 x 40 pixels"),
        (f"{one}[0,0,10,41]", "reaches beyond"),
        (folder / "gone.png", "gone.png' cannot be read: no such file"),
        (folder / "broken.png", "not a readable image"),
        ([], "there is no example"),
    ]:
        with pytest.raises(zs.QueryError, match=message):
            zs.detect(folder, fresh, like=like)
    assert fresh._detector is None


def test_a_box_that_no_part_overlaps(model: zs.DetectionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = model.load()
    monkeypatch.setattr(detector, "_corners", lambda features, grid: np.zeros((1, 16, 4), dtype=np.float32))
    with pytest.raises(zs.QueryError, match="no object that overlaps"):
        detector.encode_example(Image.new("RGB", (9, 9)), (0.1, 0.1, 0.2, 0.2))


def test_exactly_one_of_classes_and_examples(folder: Path) -> None:
    with pytest.raises(zs.UsageError, match="nothing says what to find"):
        zs.detect(folder)
    with pytest.raises(zs.UsageError, match="both say what to find"):
        zs.detect(folder, classes=CLASSES, like="a.jpg")
    with pytest.raises(zs.UsageError, match="`templates` are for `classes`"):
        zs.detect(folder, like="a.jpg", templates="raw")


@pytest.mark.parametrize("name", ["demo", "small", "ViT-B-32/openai", "timm:resnet50.a1_in1k", "owl"])
def test_what_is_not_a_detector(name: str, folder: Path) -> None:
    with pytest.raises(zs.ModelNameError, match="is not a detector") as refused:
        zs.detect(folder, name, classes=CLASSES)
    assert "google/owlv2-base-patch16-ensemble" in str(refused.value.hint)


def test_folders_that_hold_no_detector(folder: Path, tmp_path: Path, model: zs.DetectionModel) -> None:
    owl = Path(model.name.removeprefix("local-dir:"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (other / "preprocessor_config.json").write_text(json.dumps({"size": 224}))
    with pytest.raises(zs.ModelNameError, match="is not a detector: its type is clip"):
        zs.detect(folder, f"local-dir:{other}", classes=CLASSES)
    for name in ("config.json", "processor_config.json"):
        (other / name).write_bytes((owl / name).read_bytes())
    with pytest.raises(zs.WeightsUnavailableError, match="could not load the detector"):
        zs.detect(folder, f"local-dir:{other}", classes=CLASSES)
    (other / "config.json").write_text("{")
    with pytest.raises(zs.WeightsUnavailableError, match="could not load the weights"):
        zs.detect(folder, f"local-dir:{other}", classes=CLASSES)


def test_a_model_of_the_hub_that_is_not_here(folder: Path) -> None:
    with pytest.raises(zs.WeightsUnavailableError, match="not in the cache, and HF_HUB_OFFLINE is set") as refused:
        zs.detect(folder, classes=CLASSES)
    assert "local-dir:PATH" in str(refused.value.hint)


@pytest.mark.parametrize(
    "settings",
    [{"engine": "openvino"}, {"precision": "int8"}, {"device": "intel-gpu"}, {"engine": "torch", "compile": True}],
)
def test_settings_that_detectors_do_not_have(settings: dict[str, Any]) -> None:
    with pytest.raises(zs.DeviceError, match="detectors run in torch"):
        zs.DetectionModel("x/y", zs.Compute(**settings))


def test_images_that_take_too_much_memory_once_they_are_padded(
    tmp_path: Path, model: zs.DetectionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (3000, 2)).save(tmp_path / "long.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "usual.png")
    monkeypatch.setattr("zsretrieve.encoders.torch.owl.default_max_pixels", lambda: 1_000_000)
    found = zs.detect(tmp_path, model, classes=CLASSES)
    assert [one.reason for one in found.skipped] == ["too large to be prepared: 3000 x 2 pixels"]
    assert len(found.images) == 1
