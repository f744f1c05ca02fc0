"""Labelling tools read what we write, by their own code, in environments of their own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from kits.environment import output_of, python_with
from kits.images import picture, turned_exif

import zsretrieve as zs
from zsretrieve.domain.boxes import in_pixels

pytestmark = pytest.mark.peer

READERS = ("label-studio-sdk==2.1.2", "datumaro==1.13.12", "pycocotools==2.0.11")


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_with(READERS, tmp_path_factory.mktemp("readers"))


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_with(
        ("ultralytics==8.4.190", "torch", "torchvision"), tmp_path_factory.mktemp("ultralytics"), constrained=True
    )


@pytest.fixture(scope="module")
def fiftyone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_with(("fiftyone==1.22.1",), tmp_path_factory.mktemp("fiftyone"))


def export(annotations: zs.Annotations, out: Path, form: str) -> None:
    zs.hand_over(annotations, zs.Handover(out, form))


def run(python: Path, code: str, folder: Path, **env: str) -> Any:
    """What code prints as JSON at its end."""
    return json.loads(output_of(python, f"import json\n{code}", folder, env))


def without_twins(annotations: zs.Annotations) -> zs.Annotations:
    """Without the image whose name differs from another in the suffix alone, which Datumaro takes for the same."""
    images = tuple(image for image in annotations.images if not image.path.endswith(".png"))
    Path(annotations.root, "b", "1.png").unlink()
    return annotations.of(images)


def pixels(image: zs.AnnotatedImage) -> list[list[float]]:
    return [list(in_pixels(one.box, image.width, image.height)) for one in image.annotations if one.box]


def test_pycocotools_reads_boxes_and_classes(
    readers: Path, boxes: zs.Annotations, classes: zs.Annotations, tmp_path: Path
) -> None:
    export(boxes, tmp_path / "boxes.json", "coco")
    export(classes, tmp_path / "classes.json", "coco")
    code = """
from pycocotools.coco import COCO
boxes, classes = COCO("boxes.json"), COCO("classes.json")
of = lambda coco: [coco.loadAnns(coco.getAnnIds(imgIds=[number])) for number in coco.getImgIds()]
names = {one["id"]: one["name"] for one in boxes.loadCats(boxes.getCatIds())}
print(json.dumps([[[[names[one["category_id"]], one["bbox"]] for one in image] for image in of(boxes)],
                  [[names[one["category_id"]] for one in image] for image in of(classes)]]))
"""
    found, of_images = run(readers, code, tmp_path)
    assert [[name for name, _ in image] for image in found] == [
        [boxes.name_of(one) for one in image.annotations] for image in boxes.images
    ]
    for image, read in zip(boxes.images, found, strict=True):
        for wanted, (_, box) in zip(pixels(image), read, strict=True):
            assert box == pytest.approx(wanted, abs=1e-3)
    assert of_images == [["cat"], ["grey dog"], [classes.class_names[2]], []]


def key_of(annotations: zs.Annotations, image: zs.AnnotatedImage) -> str:
    """What Datumaro calls an image."""
    return os.path.splitext(os.path.relpath(image.path, annotations.root))[0]


DATUMARO = """
from datumaro.components.dataset import Dataset
def read(place, form):
    found = Dataset.import_from(place, form)
    names = [label.name for label in found.categories()[list(found.categories())[0]].items]
    box = lambda one: one.get_bbox() if hasattr(one, "get_bbox") else None
    return {item.id: [[names[one.label], box(one)] for one in item.annotations] for item in found}
"""


def test_datumaro_reads_classes_of_coco(readers: Path, classes: zs.Annotations, tmp_path: Path) -> None:
    classes = without_twins(classes)
    (tmp_path / "in" / "annotations").mkdir(parents=True)
    export(classes, tmp_path / "in" / "annotations" / "labels_default.json", "coco")
    shutil.copytree(classes.root, tmp_path / "in" / "images" / "default")
    found = run(readers, f'{DATUMARO}\nprint(json.dumps(read("in", "coco_labels")))', tmp_path)
    assert {key: [name for name, _ in of_image] for key, of_image in found.items()} == {
        key_of(classes, image): [classes.name_of(one) for one in image.annotations] for image in classes.images
    }


@pytest.mark.parametrize("kind", ["boxes", "classes"])
def test_datumaro_reads_the_xml_of_cvat(
    readers: Path, boxes: zs.Annotations, classes: zs.Annotations, tmp_path: Path, kind: str
) -> None:
    annotations = without_twins({"boxes": boxes, "classes": classes}[kind])
    shutil.copytree(annotations.root, tmp_path / "in" / "images")
    export(annotations, tmp_path / "in" / "annotations.xml", "cvat")
    found = run(readers, f'{DATUMARO}\nprint(json.dumps(read("in", "cvat")))', tmp_path)
    for image in annotations.images:
        read = found.pop(key_of(annotations, image))
        assert [name for name, _ in read] == [annotations.name_of(one) for one in image.annotations]
        for wanted, (_, box) in zip(pixels(image), read, strict=False):
            assert box == pytest.approx(wanted, abs=2e-3)
    assert not found


@pytest.mark.parametrize("kind", ["boxes", "classes"])
def test_label_studio_accepts_tasks_and_setup(
    readers: Path, boxes: zs.Annotations, classes: zs.Annotations, tmp_path: Path, kind: str
) -> None:
    export({"boxes": boxes, "classes": classes}[kind], tmp_path / "out", "label-studio")
    code = """
from label_studio_sdk.label_interface import LabelInterface
setup = LabelInterface(open("out/config.xml").read())
setup.validate()
tasks = json.load(open("out/tasks.json"))
bad = json.loads(json.dumps(tasks[0]["predictions"][0]).replace("cat", "cow"))
print(json.dumps([[setup.validate_prediction(one) for task in tasks for one in task["predictions"]],
                  setup.validate_prediction(bad)]))
"""
    predictions, bad = run(readers, code, tmp_path)
    assert predictions == [True] * (2 if kind == "boxes" else 3)
    assert not bad


def test_ultralytics_reads_boxes_of_upright_images(ultralytics: Path, boxes: zs.Annotations, tmp_path: Path) -> None:
    first, second, *others = boxes.images
    picture(Path(second.path), (second.height, second.width), exif=turned_exif())
    export(boxes, tmp_path / "yolo", "yolo")
    (tmp_path / "settings" / "Ultralytics").mkdir(parents=True)
    for font in ("Arial.ttf", "Arial.Unicode.ttf"):  # which it downloads otherwise
        (tmp_path / "settings" / "Ultralytics" / font).touch()
    code = """
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
data = check_det_dataset("yolo/data.yaml", autodownload=False)
read = YOLODataset(img_path=data["train"], data=data, task="detect", augment=False)
name = lambda one: one["im_file"].rpartition("/")[2]
found = [[name(one), one["shape"], one["cls"].tolist(), one["bboxes"].tolist()] for one in read.labels]
print(json.dumps([data["names"], found]))
"""
    names, found = run(ultralytics, code, tmp_path, YOLO_CONFIG_DIR=str(tmp_path / "settings"))
    assert list(names.values()) == list(boxes.class_names)
    of_image = {name: (shape, classes, centres) for name, shape, classes, centres in found}
    assert of_image["1-2.jpg"][0] == [second.height, second.width]
    assert [len(of_image[name][1]) for name in ("1.jpg", "1-2.jpg", "1-3.png")] == [3, 1, 0]
    assert [number for [number] in of_image["1.jpg"][1]] == [0, 1, 2]
    assert of_image["1.jpg"][2][0] == pytest.approx([0.35, 0.55, 0.5, 0.7], abs=1e-6)
    assert len(others) == 2
    assert first.annotations


def test_ultralytics_reads_folders_of_classes(ultralytics: Path, classes: zs.Annotations, tmp_path: Path) -> None:
    export(classes, tmp_path / "yolo", "yolo")
    code = """
import torchvision
from ultralytics.data.utils import check_cls_dataset
data = check_cls_dataset("yolo")
print(json.dumps([data["names"], torchvision.datasets.ImageFolder(data["train"]).samples]))
"""
    names, samples = run(ultralytics, code, tmp_path, YOLO_CONFIG_DIR=str(tmp_path))
    assert [(Path(path).name, names[str(number)]) for path, number in samples] == [
        ("1.png", "a _b_ & _c_"), ("1.jpg", "cat"), ("1.jpg", "grey dog")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["boxes", "classes"])
def test_fiftyone_reads_its_own_form(
    fiftyone: Path, boxes: zs.Annotations, classes: zs.Annotations, tmp_path: Path, kind: str
) -> None:
    annotations = {"boxes": boxes, "classes": classes}[kind]
    export(annotations, tmp_path / "out", "fiftyone")
    name = {"boxes": "Detection", "classes": "Classification"}[kind]
    code = f"""
from fiftyone.utils.data.importers import FiftyOneImage{name}DatasetImporter
found = []
with FiftyOneImage{name}DatasetImporter("out", data_path="data.json") as importer:
    for path, _, label in importer:
        of_image = [] if label is None else getattr(label, "detections", [label])
        found.append([path, [[one.label, one.confidence, getattr(one, "bounding_box", None)] for one in of_image]])
print(json.dumps(found))
"""
    found = run(fiftyone, code, tmp_path)
    assert [path for path, _ in found] == [image.path for image in annotations.images]
    for image, (_, read) in zip(annotations.images, found, strict=True):
        assert [one[:2] for one in read] == [[annotations.name_of(one), one.confidence] for one in image.annotations]
        for (*_, box), wanted in zip(read, pixels(image), strict=False):
            left, top, width, height = box
            size = (image.width, image.height) * 2
            assert [a * b for a, b in zip((left, top, width, height), size, strict=True)] == pytest.approx(wanted)
