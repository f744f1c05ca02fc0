"""Classes, evaluations, duplicates and lists over HTTP are those of the library."""

from __future__ import annotations

import csv
import io
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from kits.archives import write_tar
from kits.hashing_encoder import HashingEncoder
from kits.images import png
from kits.web import client_of, service_for
from starlette.testclient import TestClient

import zsretrieve as zs
from zsretrieve.domain.plain import plain
from zsretrieve.domain.ports import Encoder
from zsretrieve.handover import label_studio
from zsretrieve.web.galleries import Revision

COLOURS = "/api/v1/galleries/colours"
CLASSES = ["red star", "blue star", "red circle"]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, hashing_encoder: HashingEncoder) -> Path:
    """Three classes of three scenes, one of them twice, and two sets of prototypes."""
    root = tmp_path_factory.mktemp("colours")
    for name in CLASSES:
        shutil.copytree(scene_folder / name, root / "scenes" / name)
    first = min((root / "scenes" / "red star").iterdir())
    shutil.copy(first, first.with_name("copy.png"))
    zs.build_gallery(root / "scenes", root / "colours", hashing_encoder)
    zs.build_prototypes(root / "plain", CLASSES, hashing_encoder, templates=["{}"])
    zs.build_prototypes(root / "photos", CLASSES, hashing_encoder, templates=["a photo of a {}"])
    return root


@pytest.fixture(scope="module")
def client(colours: Path, hashing_encoder: HashingEncoder) -> Iterator[TestClient]:
    service = service_for(hashing_encoder, [colours / "colours"], [colours / "plain", colours / "photos"])
    with client_of(service) as asking:
        yield asking


def classified(colours: Path, encoder: HashingEncoder) -> dict[int, str]:
    gallery = zs.open_gallery(colours / "colours")
    found = zs.classify(gallery, zs.open_prototypes(colours / "plain"), encoder)
    return {item.id: one.predictions[0].class_name for item, one in zip(gallery.items, found.results, strict=True)}


def test_a_histogram_of_the_gallery(client: TestClient, colours: Path, hashing_encoder: HashingEncoder) -> None:
    best = classified(colours, hashing_encoder)
    answer = client.post(f"{COLOURS}/classify", json={"prototypes": "plain"}).json()
    assert {one["class_name"]: one["n"] for one in answer["classes"]} == {
        **dict.fromkeys(CLASSES, 0),
        **Counter(best.values()),
    }
    assert [one["n"] for one in answer["classes"]] == sorted((one["n"] for one in answer["classes"]), reverse=True)
    assert all(best[number] == one["class_name"] for one in answer["classes"] for number in one["ids"])
    assert (answer["n"], answer["predictions"]) == (len(best), [])
    assert sum(one["share"] for one in answer["classes"]) == pytest.approx(1)


def test_classes_that_are_typed(client: TestClient, colours: Path, hashing_encoder: HashingEncoder) -> None:
    body = {"labels": CLASSES, "templates": "raw", "ids": [0, 4], "k": 2}
    answer = client.post(f"{COLOURS}/classify", json=body)
    gallery = zs.open_gallery(colours / "colours")
    found = zs.classify(gallery, None, hashing_encoder, classes=CLASSES, templates="raw", k=2)
    wanted = [
        {"id": item.id, "path": item.path, "label": item.label, **one.to_dict()}
        | {"score": pytest.approx(one.score, abs=1e-6), "probability": pytest.approx(one.probability)}
        for item, result in zip(gallery.items, found.results, strict=True) if item.id in (0, 4)
        for one in result.predictions
    ]  # fmt: skip
    assert answer.json()["predictions"] == wanted


def test_classes_that_the_model_cannot_distinguish(tmp_path: Path, colours: Path, demo_encoder: Encoder) -> None:
    zs.build_gallery(colours / "scenes", tmp_path / "colours", demo_encoder)
    zs.build_prototypes(tmp_path / "pets", ["dog", "cat"], demo_encoder)
    with client_of(service_for(demo_encoder, [tmp_path / "colours"], [tmp_path / "pets"])) as asking:
        for body in ({"labels": ["dog", "cat"]}, {"prototypes": "pets"}):
            (note,) = asking.post(f"{COLOURS}/classify", json=body).json()["notes"]
            assert note.startswith("the model cannot distinguish these 2 classes")
            assert note.endswith("'dog', 'cat'")
        assert asking.post(f"{COLOURS}/classify", json={"labels": CLASSES}).json()["notes"] == []


def test_images_are_looked_up_in_a_thread(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may name 100,000, and nothing else is answered while the event loop looks for them."""
    threads, row_of = set(), Revision.row_of
    monkeypatch.setattr(
        Revision, "row_of", lambda *given: threads.add(threading.current_thread().name) or row_of(*given)
    )
    answer = client.post(f"{COLOURS}/classify", json={"prototypes": "plain", "ids": [3, 0, 3]})
    assert answer.json()["n"] == 2
    assert {name.partition("_")[0] for name in threads} == {"work"}


def test_classes_of_what_was_found(client: TestClient) -> None:
    found = client.post(f"{COLOURS}/search", json={"query": "a star", "k": 5}).json()["hits"]
    body = {"prototypes": "plain", "search": {"query": "a star", "k": 5}}
    answer = client.post(f"{COLOURS}/classify", json=body).json()
    assert sorted(number for one in answer["classes"] for number in one["ids"]) == sorted(hit["id"] for hit in found)
    filtered = client.post(f"{COLOURS}/classify", json={"prototypes": "plain", "where": "label = 'red star'"}).json()
    assert filtered["n"] == 4
    assert client.post(f"{COLOURS}/classify", json={"prototypes": "plain", "where": "width = 1"}).json()["n"] == 0


def test_an_evaluation(client: TestClient, colours: Path) -> None:
    answer = client.get(f"{COLOURS}/evaluation", params={"prototypes": "plain"}).json()
    report = zs.evaluate(zs.open_gallery(colours / "colours"), zs.open_prototypes(colours / "plain"))
    confusion = answer.pop("confusion")
    wanted = plain(report.to_dict())
    assert answer.keys() == wanted.keys()
    assert {key: answer[key] for key in ("prec@1", "n_scored", "per_class", "confusions")} == {
        key: wanted[key] for key in ("prec@1", "n_scored", "per_class", "confusions")
    }
    assert sum(n for _, _, n in confusion["cells"]) == report.n_scored
    assert sum(n for true, predicted, n in confusion["cells"] if true == predicted) == report.n_correct
    for true, predicted, n in confusion["cells"]:
        names = {"true": confusion["classes"][true], "predicted": confusion["classes"][predicted]}
        cell = client.get(f"{COLOURS}/evaluation/cell", params={"prototypes": "plain", **names}).json()
        assert cell["total"] == len(cell["hits"]) == n
        assert {hit["label"] for hit in cell["hits"]} == {names["true"]}
        found = client.post(f"{COLOURS}/classify", json={"prototypes": "plain", "ids": [h["id"] for h in cell["hits"]]})
        best = {one["class_name"] for one in found.json()["predictions"] if one["rank"] == 1}
        assert best == {names["predicted"]}


def test_two_evaluations(client: TestClient, colours: Path) -> None:
    answer = client.get(f"{COLOURS}/evaluation/compare", params={"a": "plain", "b": "photos"}).json()
    wanted = zs.compare(colours / "plain", colours / "photos", on=colours / "colours").to_dict()
    assert answer.keys() == plain(wanted).keys()
    assert answer["first"] == plain(wanted)["first"]


def test_duplicates(client: TestClient, colours: Path) -> None:
    answer = client.get(f"{COLOURS}/duplicates", params={"near": 1}).json()
    groups = zs.find_duplicates(colours / "colours", near=1.0)
    assert [[one["id"] for one in group["items"]] for group in answer["groups"]] == [
        [one.id for one in group.items] for group in groups
    ]
    assert answer["groups"][0]["kind"] == "exact"
    assert (answer["total"], answer["next"]) == (len(groups), None)
    every = client.get(f"{COLOURS}/duplicates", params={"near": 0.5, "k": 1}).json()
    assert every["next"] == (1 if every["total"] > 1 else None)


def test_lists(client: TestClient, colours: Path) -> None:
    gallery = zs.open_gallery(colours / "colours")
    paths = client.post(f"{COLOURS}/export", json={"ids": [2, 0]})
    assert paths.text == "".join(f"{gallery.path_of(gallery.items[row])}\n" for row in (2, 0))
    table = client.post(f"{COLOURS}/export", json={"ids": [1], "form": "csv"})
    assert table.headers["content-disposition"] == 'attachment; filename="images.csv"'
    (row,) = csv.DictReader(io.StringIO(table.text))
    assert (row["id"], row["label"], row["path"]) == ("1", gallery.items[1].label, gallery.path_of(gallery.items[1]))


def test_labels_for_labelling_tools(client: TestClient, colours: Path) -> None:
    gallery = zs.open_gallery(colours / "colours")
    first, second = (gallery.items[row] for row in (2, 0))
    coco = client.post(f"{COLOURS}/export", json={"ids": [2, 0], "form": "coco"})
    assert coco.headers["content-disposition"] == 'attachment; filename="coco.json"'
    names = {one["id"]: one["name"] for one in coco.json()["categories"]}
    assert [one["file_name"] for one in coco.json()["images"]] == [first.path, second.path]
    assert [names[one["category_id"]] for one in coco.json()["annotations"]] == [first.label, second.label]
    for label, wanted in ((None, first.label), ("mine", "mine")):
        body = {"ids": [2], "label": label}
        [task] = client.post(f"{COLOURS}/export", json={**body, "form": "label-studio"}).json()
        assert unquote(task["data"]["image"]) == f"/data/local-files/?d={gallery.path_of(first).lstrip('/')}"
        assert task["predictions"][0]["result"][0]["value"] == {"choices": [wanted]}
        setup = client.post(f"{COLOURS}/export", json={**body, "form": "label-studio-setup"}).text
        assert f'<Choice value="{wanted}"/>' in setup


@pytest.mark.parametrize(
    ("path", "is_here", "expected"),
    [
        ("https://x.org/a b.jpg", True, "https://x.org/a b.jpg"),
        ("https://x.org/a b.jpg?key=secret", False, "a%20b.jpg"),
        ("/photos/a b.jpg", True, "/data/local-files/?d=photos/a%20b.jpg"),
        ("/photos/a b.jpg", False, "a%20b.jpg"),
    ],
)
def test_where_label_studio_finds_an_image(tmp_path: Path, path: str, is_here: bool, expected: str) -> None:
    assert label_studio.address(path, "a b.jpg", is_here=is_here) == expected
    member = f"{write_tar(tmp_path / 'x.tar', {'a b.jpg': png(1)})}!/a b.jpg"
    assert label_studio.address(member, "a b.jpg", is_here=True) == "a%20b.jpg"


@pytest.mark.parametrize(
    ("place", "body", "status", "message"),
    [
        ("classify", {}, 400, "exactly one of labels and prototypes"),
        ("classify", {"labels": ["a"], "prototypes": "plain"}, 400, "exactly one of labels and prototypes"),
        ("classify", {"labels": []}, 422, "labels"),
        ("classify", {"labels": [""]}, 400, "empty"),
        ("classify", {"labels": ["a"], "templates": "/etc/passwd"}, 400, "there are no templates"),
        ("classify", {"labels": [f"a {n}" for n in range(251)], "templates": "openai80"}, 400, "20080 prompts"),
        ("classify", {"prototypes": "none"}, 404, "there are no prototypes"),
        ("classify", {"prototypes": "plain", "ids": [999]}, 404, "there is no image 999"),
        ("classify", {"prototypes": "plain", "ids": [1], "search": {}}, 400, "ids and search"),
        ("export", {"ids": [999]}, 404, "there is no image 999"),
        ("export", {"ids": [1], "form": "xlsx"}, 422, "form"),
    ],
)
def test_errors(client: TestClient, place: str, body: dict, status: int, message: str) -> None:
    answer = client.post(f"{COLOURS}/{place}", json=body)
    assert (answer.status_code, message in answer.text) == (status, True), answer.text


def test_a_gallery_without_labels(tmp_path: Path, colours: Path, hashing_encoder: HashingEncoder) -> None:
    zs.build_gallery(colours / "scenes" / "red star", tmp_path / "plain", hashing_encoder)
    with client_of(service_for(hashing_encoder, [tmp_path / "plain"], [colours / "photos"])) as client:
        answer = client.get("/api/v1/galleries/plain/evaluation", params={"prototypes": "photos"})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "no image of this gallery has a label")
