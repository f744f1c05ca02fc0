"""Files for labelling tools hold every annotation where the tool looks for it; test_peers has the tools themselves."""

from __future__ import annotations

import csv
import json
import logging
import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import pytest
from kits.archives import write_tar
from kits.images import picture, png, turned_exif

import zsretrieve as zs
from zsretrieve.domain.boxes import in_pixels
from zsretrieve.handover.texts import yaml_text


def written(annotations: zs.Annotations, out: Path, form: str, **more: object) -> zs.HandedOver:
    [done] = zs.hand_over(annotations, zs.Handover(out, form, **more))
    return done


def names(annotations: zs.Annotations) -> list[str]:
    return [os.path.relpath(image.path, annotations.root) for image in annotations.images]


def test_coco_of_classes(classes: zs.Annotations, tmp_path: Path) -> None:
    assert written(classes, tmp_path / "coco.json", "coco") == zs.HandedOver(str(tmp_path / "coco.json"), 4, 3, 1)
    content = json.loads((tmp_path / "coco.json").read_text())
    # One category for two classes of the same name.
    assert [(one["id"], one["name"]) for one in content["categories"]] == [
        (n, classes.class_names[n - 1]) for n in (1, 2, 3)
    ]
    assert [(one["file_name"], one["width"], one["height"]) for one in content["images"]] == [
        (name, image.width, image.height) for name, image in zip(names(classes), classes.images, strict=True)
    ]
    assert [one.get("rejected", False) for one in content["images"]] == [False, False, False, True]
    assert content["annotations"] == [
        {"id": number, "image_id": number, "category_id": number, "score": 0.5 + (number - 1) / 10}
        for number in (1, 2, 3)
    ]


def test_coco_of_boxes(boxes: zs.Annotations, tmp_path: Path) -> None:
    written(boxes, tmp_path / "coco.json", "coco")
    content = json.loads((tmp_path / "coco.json").read_text())
    found = content["annotations"]
    assert [(one["image_id"], one["category_id"], one["score"]) for one in found] == [
        (1, 1, 0.9), (1, 2, 0.8), (1, 3, 0.9 - 0.2), (2, 2, 0.8)
    ]  # fmt: skip
    assert found[0]["bbox"] == [8, 12, 40, 42]
    assert found[0]["area"] == 40 * 42
    assert found[3]["bbox"] == [0, 0, 64, 48]


def test_a_reader_of_coco_finds_them(classes: zs.Annotations, boxes: zs.Annotations, tmp_path: Path) -> None:
    reader = pytest.importorskip("faster_coco_eval")
    for name, given in (("classes", classes), ("boxes", boxes)):
        written(given, tmp_path / name, "coco")
        coco = reader.COCO(str(tmp_path / name))
        names = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
        found = [[names[one["category_id"]] for one in coco.loadAnns(coco.getAnnIds(imgIds=[n]))] for n in (1, 2, 3, 4)]
        assert found == [[given.name_of(one) for one in image.annotations] for image in given.images]


def test_cvat(boxes: zs.Annotations, classes: zs.Annotations, tmp_path: Path) -> None:
    written(boxes, tmp_path / "boxes.xml", "cvat")
    written(classes, tmp_path / "classes.xml", "cvat")
    root = ElementTree.parse(tmp_path / "boxes.xml").getroot()
    assert root.findtext("version") == "1.1"
    # One label for two classes of the same name.
    assert [one.findtext("name") for one in root.iter("label")] == list(dict.fromkeys(boxes.class_names))
    images = root.findall("image")
    assert [image.get("name") for image in images] == names(boxes)
    first = images[0].findall("box")
    assert [one.get("label") for one in first] == list(boxes.class_names[:3])
    assert [float(first[0].get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr")] == [8, 12, 48, 54]
    assert first[0].findtext("attribute") == "0.9000"
    assert [len(image) for image in images] == [3, 1, 0, 0]
    tags = [image.findall("tag") for image in ElementTree.parse(tmp_path / "classes.xml").iter("image")]
    assert [[one.get("label") for one in of_image] for of_image in tags] == [
        [name] for name in classes.class_names[:3]
    ] + [[]]


def test_label_studio(classes: zs.Annotations, boxes: zs.Annotations, tmp_path: Path) -> None:
    written(classes, tmp_path / "classes", "label-studio")
    tasks = json.loads((tmp_path / "classes" / "tasks.json").read_text())
    for task, image in zip(tasks, classes.images, strict=True):
        address = urlsplit(task["data"]["image"])
        assert (address.path, parse_qs(address.query)["d"]) == ("/data/local-files/", [image.path.lstrip("/")])
    assert [task["data"].get("rejected", False) for task in tasks] == [False, False, False, True]
    assert [len(task["predictions"]) for task in tasks] == [1, 1, 1, 0]
    assert tasks[1]["predictions"][0] == {
        "model_version": "demo",
        "score": 0.6,
        "result": [
            {"id": "1", "from_name": "label", "to_name": "image", "type": "choices",
             "value": {"choices": ["grey dog"]}, "score": 0.6}
        ],
    }  # fmt: skip
    setup = ElementTree.parse(tmp_path / "classes" / "config.xml").getroot()
    assert [one.get("value") for one in setup.iter("Choice")] == list(dict.fromkeys(classes.class_names))

    written(boxes, tmp_path / "boxes", "label-studio", images_at="https://example.org/photos/")
    task = json.loads((tmp_path / "boxes" / "tasks.json").read_text())[0]
    assert task["data"] == {"image": "https://example.org/photos/a/1.jpg", "path": "a/1.jpg"}
    [prediction] = task["predictions"]
    assert prediction["score"] == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    first = prediction["result"][0]
    assert (first["original_width"], first["original_height"], first["image_rotation"]) == (80, 60, 0)
    value = first["value"]
    assert [value[side] for side in ("x", "y", "width", "height")] == pytest.approx([10, 20, 50, 70])
    assert (value["rotation"], value["rectanglelabels"]) == (0, ["cat"])
    setup = ElementTree.parse(tmp_path / "boxes" / "config.xml").getroot()
    assert [one.get("name") for one in setup.iter("RectangleLabels")] == ["label"]
    last = json.loads((tmp_path / "boxes" / "tasks.json").read_text())[3]["data"]["image"]
    assert last == "https://example.org/photos/c%20%26%20%27d%27/50%20%25%2C%20%23%C3%A9.jpg"
    assert unquote(last).endswith(names(boxes)[3])


def test_yolo_of_boxes(boxes: zs.Annotations, tmp_path: Path) -> None:
    assert written(boxes, tmp_path / "yolo", "yolo").images == 4
    images = {path.name: path for path in (tmp_path / "yolo" / "images").iterdir()}
    # No two share a label file: 1.jpg, 1.jpg and 1.png.
    assert sorted(images) == ["1-2.jpg", "1-3.png", "1.jpg", "50 %, #é.jpg"]
    assert images["1-2.jpg"].is_symlink()
    assert images["1-2.jpg"].resolve() == Path(boxes.images[1].path)
    labels = {path.stem: path.read_text() for path in (tmp_path / "yolo" / "labels").iterdir()}
    assert sorted(labels) == ["1", "1-2", "1-3", "50 %, #é"]
    rows = [[float(number) for number in line.split()] for line in labels["1"].splitlines()]
    assert rows[0] == pytest.approx([0, 0.35, 0.55, 0.5, 0.7], abs=1e-6)
    assert [row[0] for row in rows] == [0, 1, 2]
    assert labels["1-3"] == ""
    description = (tmp_path / "yolo" / "data.yaml").read_text()
    assert '  1: "grey dog"\n  2: "a \\"b\\" & <c>"\n' in description


def test_yolo_has_a_label_file_for_each_image(tmp_path: Path) -> None:
    """Also where a name without a suffix gets one, whose stem then is that of another."""
    picture(tmp_path / "a" / "p.v2.jpg", (8, 6))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "p.v2").write_bytes(png(1))
    box = (0.0, 0.0, 1.0, 0.5)
    images = tuple(
        zs.AnnotatedImage(str(tmp_path / name), 8, 6, (zs.Annotation(number, 0.5, box),))
        for number, name in enumerate(("a/p.v2.jpg", "b/p.v2"))
    )
    written(zs.Annotations(("x", "y"), images, has_boxes=True), tmp_path / "yolo", "yolo")
    labels = {path.name: path.read_text()[0] for path in (tmp_path / "yolo" / "labels").iterdir()}
    assert labels == {"p.v2.txt": "0", "p.v2-2.txt": "1"}


def test_yolo_of_classes(classes: zs.Annotations, tmp_path: Path) -> None:
    written(classes, tmp_path / "yolo", "yolo", copy=True)
    found = sorted(str(path.relative_to(tmp_path / "yolo")) for path in (tmp_path / "yolo").rglob("*.*g"))
    assert found == ["train/a _b_ & _c_/1.png", "train/cat/1.jpg", "train/grey dog/1.jpg", "unknown/50 %, #é.jpg"]
    assert not any(path.is_symlink() for path in (tmp_path / "yolo").rglob("*"))


def test_yaml_escapes_what_it_cannot_hold() -> None:
    assert yaml_text('a\\"\n\x85\udce9é') == '"a\\\\\\"\\U0000000a\\U00000085\\U0000dce9é"'


def test_csv(classes: zs.Annotations, boxes: zs.Annotations, tmp_path: Path) -> None:
    for name, given in (("classes", classes), ("boxes", boxes)):
        written(given, tmp_path / name, "csv")
        with open(tmp_path / name, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        wanted = [(image.path, one) for image in given.images for one in image.annotations or (None,)]
        assert [row["path"] for row in rows] == [path for path, _ in wanted]
        assert [row["class_name"] for row in rows] == [(one and given.name_of(one)) or "" for _, one in wanted]
        assert [row["confidence"] for row in rows] == [str(one.confidence) if one else "" for _, one in wanted]
        assert [row["rejected"] for row in rows] == ["0", "0", "0", "1"] if name == "classes" else ["0"] * 6
    assert [float(rows[0][side]) for side in ("x", "y", "width", "height")] == list(
        in_pixels((0.1, 0.2, 0.6, 0.9), 80, 60)
    )


def test_fiftyone(classes: zs.Annotations, boxes: zs.Annotations, tmp_path: Path) -> None:
    for name, given in (("classes", classes), ("boxes", boxes)):
        written(given, tmp_path / name, "fiftyone")
        paths = json.loads((tmp_path / name / "data.json").read_text())
        assert list(paths.values()) == [image.path for image in given.images]
        labels = json.loads((tmp_path / name / "labels.json").read_text())
        assert labels["classes"] == list(given.class_names)
        of_images = [labels["labels"][key] for key in paths]
        if name == "classes":
            assert of_images == [{"label": n, "confidence": 0.5 + n / 10} for n in range(3)] + [None]
        else:
            assert [len(found) for found in of_images] == [3, 1, 0, 0]
            assert of_images[0][0]["bounding_box"] == pytest.approx([0.1, 0.2, 0.5, 0.7])


@pytest.fixture
def archived(tmp_path: Path) -> zs.Annotations:
    """Images in an archive, of which the second is not there."""
    tar = write_tar(tmp_path / "photos.tar", {"x/1.png": png(1), "y/1.png": png(2)})
    images = [f"{tar}!/{name}" for name in ("x/1.png", "gone.png", "y/1.png")]
    found = tuple(zs.AnnotatedImage(path, 9, 7, (zs.Annotation(0, 1.0),)) for path in images)
    return zs.Annotations(("x",), found, has_boxes=False, root=str(tmp_path))


@pytest.mark.parametrize("form", ["label-studio", "fiftyone"])
def test_images_in_archives_are_extracted(archived: zs.Annotations, tmp_path: Path, form: str) -> None:
    done = written(archived, tmp_path / "out", form)
    assert [Path(one.path).name for one in done.skipped] == ["gone.png"]
    assert (done.images, done.annotations) == (2, 2)
    extracted = tmp_path / "out" / "images"
    assert [(extracted / name).read_bytes() for name in ("1.png", "1-2.png")] == [png(1), png(2)]
    if form == "fiftyone":
        paths = list(json.loads((tmp_path / "out" / "data.json").read_text()).values())
    else:
        tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
        paths = ["/" + unquote(urlsplit(task["data"]["image"]).query.removeprefix("d=")) for task in tasks]
        assert [task["data"]["path"] for task in tasks] == ["x/1.png", "y/1.png"]
    assert paths == [str(extracted / "1.png"), str(extracted / "1-2.png")]


def test_images_of_one_archive_are_named_as_in_it(
    archived: zs.Annotations, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "zsretrieve"):
        written(archived, tmp_path / "coco.json", "coco")
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["x/1.png", "gone.png", "y/1.png"]
    assert "3 of the images are in archives" in caplog.text


def test_sizes_nobody_knew_are_read_upright(tmp_path: Path) -> None:
    turned = picture(tmp_path / "turned.jpg", (8, 6), exif=turned_exif())
    images = tuple(zs.AnnotatedImage(str(path), 0, 0, (zs.Annotation(0),)) for path in (turned, tmp_path / "gone.jpg"))
    done = written(zs.Annotations(("x",), images, has_boxes=False), tmp_path / "coco.json", "coco")
    assert done.skipped == (zs.Skipped(str(tmp_path / "gone.jpg"), "no such file or directory"),)
    [image] = json.loads((tmp_path / "coco.json").read_text())["images"]
    assert (image["file_name"], image["width"], image["height"]) == (str(turned), 6, 8)


def test_what_xml_cannot_hold(tmp_path: Path) -> None:
    odd = tmp_path / "a\x01.jpg"
    images = tuple(zs.AnnotatedImage(str(path), 9, 9, (zs.Annotation(0),)) for path in (odd, tmp_path / "b.jpg"))
    done = written(zs.Annotations(("x",), images, has_boxes=False), tmp_path / "x.xml", "cvat")
    assert [one.reason for one in done.skipped] == ["its name holds a character that XML does not allow"]
    plain = zs.AnnotatedImage(str(tmp_path / "a.jpg"), 9, 9, (zs.Annotation(0),))
    for form in ("cvat", "label-studio"):
        with pytest.raises(zs.SourceError, match=r"class name 'x\\x01' holds a character"):
            written(zs.Annotations(("x\x01",), (plain,), has_boxes=False), tmp_path / "new", form)
        assert not (tmp_path / "new").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    picture(Path(path))
    images = (zs.AnnotatedImage(path, 8, 6, (zs.Annotation(0, 1.0),)),)
    classes = zs.Annotations(("x",), images, has_boxes=False, root=str(tmp_path))
    written(classes, tmp_path / "coco.json", "coco")
    [image] = json.loads((tmp_path / "coco.json").read_text())["images"]
    assert os.fsencode(image["file_name"]) == b"caf\xe9.png"
    written(classes, tmp_path / "ls", "label-studio")
    assert "caf%E9.png" in (tmp_path / "ls" / "tasks.json").read_text()
    written(classes, tmp_path / "x.csv", "csv")
    assert "caf\\udce9.png" in (tmp_path / "x.csv").read_text(encoding="utf-8")
    written(classes, tmp_path / "yolo", "yolo")
    assert [path.is_symlink() for path in (tmp_path / "yolo" / "train" / "x").iterdir()] == [True]
