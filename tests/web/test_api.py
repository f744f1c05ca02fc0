"""The API answers as the library does."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.web import client_of, service_for
from PIL import Image
from starlette.testclient import TestClient

import zsretrieve as zs
from zsretrieve.domain.errors import UsageError
from zsretrieve.web.errors import as_http
from zsretrieve.web.settings import Settings

API = "/api/v1"
PHOTOS = f"{API}/galleries/photos"


def pixels(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def ranking(answer: dict) -> list[tuple[int, float]]:
    return [(hit["id"], hit["score"]) for hit in answer["hits"]]


def of_library(gallery: Path, encoder: HashingEncoder, query: object, **wanted: object) -> list[tuple[int, float]]:
    hits = zs.search(zs.open_gallery(gallery), query, encoder, wanted=zs.Wanted(**wanted))
    return [(hit.id, hit.to_dict()["score"]) for hit in hits]


def test_the_galleries(client: TestClient, gallery: Path) -> None:
    answer = client.get(f"{API}/galleries").json()
    opened = zs.open_gallery(gallery)
    assert answer["galleries"] == [
        {
            "name": "photos", "n_images": 46, "model": "hashing-0", "dim": 32, "index": "Flat", "exact": True,
            "revision": opened.revision, "precision": "fp64", "has_labels": True, "has_map": False,
            "holds_texts": False, "writable": False,
        }
    ]  # fmt: skip
    assert answer["prototypes"] == [{"name": "pets", "n_classes": 3, "model": "hashing-0", "galleries": ["photos"]}]
    assert (answer["read_only"], answer["allow_url"], answer["version"]) == (True, False, zs.__version__)
    detail = client.get(PHOTOS).json()
    assert detail["folders"] == [{"folder": "", "n": 44}, {"folder": "by night", "n": 2}]
    assert detail["first_date"] <= detail["last_date"]
    assert detail["n_skipped"] == 0


def test_a_text_search_is_the_library_s(client: TestClient, gallery: Path, hashing_encoder: HashingEncoder) -> None:
    wanted = of_library(gallery, hashing_encoder, "a red circle", k=7)
    posted = client.post(f"{PHOTOS}/search", json={"query": "a red circle", "k": 7}).json()
    for name in ("query", "q"):
        linked = client.get(f"{PHOTOS}/search", params={name: "a red circle", "k": 7}).json()
        assert ranking(posted) == ranking(linked) == wanted
    assert posted["total"] == posted["n_images"] == 46
    assert (posted["next"], posted["exact"], posted["model"]) == (7, True, "hashing-0")
    assert [hit["rank"] for hit in posted["hits"]] == list(range(1, 8))


@pytest.mark.parametrize(
    ("body", "query", "wanted"),
    [
        ({"query": "cat - 0.5:dog"}, "cat - 0.5:dog", {}),
        ({"query": "cat - 0.5:dog", "literal": True}, "cat - 0.5:dog", {"literal": True}),
        ({"query": "id:3 + night"}, "id:3 + night", {}),
        ({"terms": [{"text": "cat"}, {"id": 3, "weight": 2}]}, [zs.Term("cat"), zs.Term(zs.ItemId(3), 2)], {}),
        ({"query": "cat", "minus": ["dog"]}, "cat", {"minus": ("dog",)}),
        ({"query": "cat", "more": [1, 2], "less": [5]}, "cat", {"more": (1, 2), "less": (5,)}),
        ({"more": [1]}, None, {"more": (1,)}),
        ({"query": "cat", "dedup": True, "near": 0.5}, "cat", {"dedup": True, "near": 0.5}),
        ({"query": "cat", "min_score": 0.1}, "cat", {"min_score": 0.1}),
        ({"query": "cat", "order": "date"}, "cat", {"order": "date"}),
        ({"query": "cat", "where": "width > 100"}, "cat", {"where": "width > 100"}),
        ({"query": "cat", "offset": 20}, "cat", {"offset": 20}),
        ({"terms": [{"id": 3, "box": [0, 0, 0.5, 1]}]}, [zs.Term(zs.ItemId(3), box=(0, 0, 0.5, 1))], {}),
    ],
)
def test_every_kind_of_search_is_the_library_s(
    client: TestClient, gallery: Path, hashing_encoder: HashingEncoder, body: dict, query: object, wanted: dict
) -> None:
    answer = client.post(f"{PHOTOS}/search", json={**body, "k": 10})
    assert answer.status_code == 200, answer.text
    assert ranking(answer.json()) == of_library(gallery, hashing_encoder, query, k=10, **wanted) != []


def test_an_image_that_is_sent(
    client: TestClient, photos: Path, gallery: Path, hashing_encoder: HashingEncoder
) -> None:
    file = photos / "photo-00-RGB.jpg"
    data = file.read_bytes()
    sent = client.post(f"{API}/uploads", content=data).json()
    assert (sent["width"], sent["height"]) == pixels(data).size
    by_name = client.post(f"{PHOTOS}/search", json={"terms": [{"upload": sent["upload"]}], "k": 5}).json()
    in_body = {"terms": [{"image": base64.b64encode(data).decode()}], "k": 5}
    assert ranking(by_name) == ranking(client.post(f"{PHOTOS}/search", json=in_body).json())
    assert ranking(by_name) == of_library(gallery, hashing_encoder, pixels(data), k=5)
    assert by_name["terms"] == [
        {"text": None, "id": None, "upload": sent["upload"], "weight": 1.0, "box": None, "label": "an image"}
    ]
    small = client.get(f"{API}/uploads/{sent['upload']}/thumbnail", params={"size": 128})
    assert max(pixels(small.content).size) == 128


def test_browsing(client: TestClient) -> None:
    answer = client.get(f"{PHOTOS}/items", params={"k": 40}).json()
    assert [hit["id"] for hit in answer["hits"]] == list(range(40))
    assert {hit["score"] for hit in answer["hits"]} == {None}
    assert answer == client.post(f"{PHOTOS}/search", json={"k": 40}).json() | {"seconds": answer["seconds"]}
    rest = client.get(f"{PHOTOS}/items", params={"offset": answer["next"], "revision": answer["revision"]}).json()
    assert [hit["id"] for hit in rest["hits"]] == list(range(40, 46))
    assert rest["next"] is None
    newest = client.get(f"{PHOTOS}/items", params={"order": "date"}).json()["hits"]
    assert [hit["date"] for hit in newest] == sorted((hit["date"] for hit in newest), reverse=True)


def test_a_filter_that_nothing_passes_is_no_error(client: TestClient) -> None:
    answer = client.post(f"{PHOTOS}/search", json={"query": "cat", "where": "width > 100000"})
    assert answer.status_code == 200
    assert answer.json()["hits"] == []
    assert answer.json()["total"] == 0


def test_why_a_hit_is_one(client: TestClient) -> None:
    answer = client.post(f"{PHOTOS}/search", json={"query": "cat - dog", "explain": True, "k": 3}).json()
    for hit in answer["hits"]:
        assert [(term["label"], term["weight"]) for term in hit["terms"]] == [("cat", 1.0), ("dog", -1.0)]
        assert sum(term["part"] for term in hit["terms"]) == pytest.approx(hit["score"], abs=1e-6)


def test_an_image(client: TestClient, gallery: Path) -> None:
    opened = zs.open_gallery(gallery)
    item = opened.items[5]
    answer = client.get(f"{PHOTOS}/items/5", params={"prototypes": "pets"}).json()
    assert (answer["id"], answer["path"], answer["width"]) == (5, item.path, item.width)
    assert not answer["missing"]
    assert sorted(one["class_name"] for one in answer["classes"]) == ["cat", "dog", "fish"]
    assert sum(one["probability"] for one in answer["classes"]) == pytest.approx(1)
    scores = opened.vectors.astype(np.float64) @ opened.vectors[5].astype(np.float64)
    others = [row for row in np.argsort(-scores.astype(np.float32), kind="stable") if row != 5][:12]
    assert [one["id"] for one in answer["neighbours"]] == others


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/js/views/map.js", "text/javascript"), ("/icon.svg", "image/svg+xml")],
)
def test_files_of_the_page(client: TestClient, path: str, media_type: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")
    assert client.get(f"{path}x").status_code == 404


def test_thumbnails(client: TestClient, gallery: Path) -> None:
    for item in zs.open_gallery(gallery).items:
        answer = client.get(f"{PHOTOS}/items/{item.id}/thumbnail", params={"size": 128})
        assert answer.status_code == 200, (item.path, answer.text)
        assert answer.headers["content-type"] in ("image/jpeg", "image/webp")
        assert max(pixels(answer.content).size) <= 128
        again = client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(answer.url).content == answer.content
        assert answer.headers["cache-control"] == "private, max-age=3600"


def test_images_are_shown_as_browsers_can(client: TestClient, gallery: Path, photos: Path) -> None:
    ids = {item.path: item.id for item in zs.open_gallery(gallery).items}
    jpeg = client.get(f"{PHOTOS}/items/{ids['by night/turned.jpg']}/image")
    assert (jpeg.headers["content-type"], jpeg.content) == (
        "image/jpeg", (photos / "by night" / "turned.jpg").read_bytes()
    )  # fmt: skip
    assert client.get(f"{PHOTOS}/items/{ids['moving.gif']}/image").headers["content-type"] == "image/gif"
    clear = client.get(f"{PHOTOS}/items/{ids['clear.webp']}/thumbnail")
    assert pixels(clear.content).convert("RGBA").getpixel((3, 3))[3] == 0
    tiff = client.get(f"{PHOTOS}/items/{ids['by night/old.tif']}/image")
    assert tiff.headers["content-type"] == "image/jpeg"
    assert pixels(tiff.content).getpixel((5, 5))[2] > 200
    upright = client.get(f"{PHOTOS}/items/{ids['by night/turned.jpg']}/thumbnail", params={"size": 128})
    assert pixels(upright.content).size == (30, 90)


def test_a_file_that_is_gone(tmp_path: Path, scene_folder: Path, hashing_encoder: HashingEncoder) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 20), (number * 80, 0, 0)).save(folder / f"{number}.png")
    zs.build_gallery(folder, tmp_path / "gone", hashing_encoder)
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    with client_of(service_for(hashing_encoder, [tmp_path / "gone"])) as client:
        items = f"{API}/galleries/gone/items"
        assert [hit["missing"] for hit in client.get(items).json()["hits"]] == [False, True, False]
        for place in ("image", "thumbnail"):
            answer = client.get(f"{items}/1/{place}")
            assert answer.status_code == 404
            assert "moved or deleted" in answer.json()["error"]["hint"]
        # A file that shows something else now is shown, and not kept as what it was.
        changed = client.get(f"{items}/2/thumbnail")
        assert changed.headers["cache-control"] == "no-cache"
        assert pixels(changed.content).getpixel((5, 5))[0] < 20


def test_paths_are_whole_on_this_machine_alone(tmp_path: Path, photos: Path, hashing_encoder: HashingEncoder) -> None:
    listed = tmp_path / "list"
    listed.write_text(str(photos / "clear.webp") + "\n")
    zs.build_gallery(f"@{listed}", tmp_path / "listed", hashing_encoder)
    for settings, path in (
        (Settings(), str(photos / "clear.webp")),
        (Settings("0.0.0.0", token="x" * 20), "clear.webp"),
    ):
        with client_of(service_for(hashing_encoder, [tmp_path / "listed"], settings=settings)) as client:
            client.headers["Authorization"] = f"Bearer {settings.token}"
            answer = client.get(f"{API}/galleries/listed/items").json()
            assert answer["hits"][0]["path"] == path


def test_an_empty_gallery(tmp_path: Path, photos: Path, hashing_encoder: HashingEncoder) -> None:
    zs.build_gallery(photos / "by night", tmp_path / "empty", hashing_encoder)
    zs.remove(tmp_path / "empty", ["*"])
    with client_of(service_for(hashing_encoder, [tmp_path / "empty"])) as client:
        assert client.get(f"{API}/galleries/empty").json()["first_date"] is None
        for body in ({}, {"query": "cat"}, {"query": "cat", "where": "width > 1"}):
            answer = client.post(f"{API}/galleries/empty/search", json=body)
            assert (answer.status_code, answer.json()["hits"], answer.json()["total"]) == (200, [], 0)


def test_names_are_made_unique(tmp_path: Path, gallery: Path, photos: Path, hashing_encoder: HashingEncoder) -> None:
    zs.build_gallery(photos / "by night", tmp_path / "photos", hashing_encoder)
    with client_of(service_for(hashing_encoder, [gallery, tmp_path / "photos"])) as client:
        answer = client.get(f"{API}/galleries").json()["galleries"]
        assert [(one["name"], one["n_images"]) for one in answer] == [("photos", 46), ("photos-2", 2)]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/galleries/nothing", 404, "there is no gallery 'nothing'"),
        ("/galleries/photos/items/999", 404, "there is no image 999 in 'photos'"),
        ("/galleries/photos/items/1?prototypes=x", 404, "there are no prototypes 'x'"),
        ("/galleries/photos/items/1/thumbnail?size=100", 422, "size: "),
        ("/galleries/photos/search?k=0", 422, "k: input should be greater than or equal to 1"),
        ("/galleries/photos/search?kk=3", 422, "kk: this address has no such parameter"),
        ("/galleries?k=3", 422, "k: this address has no such parameter"),
        ("/galleries/photos/search?q=cat&query=cat", 400, "query and q both say what to search for"),
        ("/galleries/photos/search?q=cat&where=nonsense", 400, "there is no column 'nonsense' to filter by"),
        ("/galleries/photos/search?q=cat&near=0.5", 400, "near has no effect without dedup"),
        ("/galleries/photos/search?q=cat+-+cat", 400, "the terms of the query"),
        ("/galleries/photos/search?q=id:999", 400, "999"),
        ("/galleries/photos/search?q=cat&revision=older", 409, "the gallery has changed"),
        ("/galleries/photos/duplicates?revision=older", 409, "the gallery has changed"),
        (
            "/galleries/photos/evaluation/cell?prototypes=x&true=a&predicted=b&revision=older",
            409,
            "the gallery has changed",
        ),
        ("/galleries/photos/search?q=https://example.org/a.jpg", 403, "the server does not fetch URLs"),
        (f"/galleries/photos/search?q={'a+%2B+' * 100}b", 400, "the query has 101 terms, and the limit is 100"),
        ("/galleries/photos/search?q=cat&dedup=true&offset=10000", 400, "a ranking ends after 10,000 hits"),
        ("/nothing", 404, "there is nothing at this address"),
        ("/uploads/0123456789abcdef0123456789abcdef/thumbnail", 404, "this image is not kept here"),
    ],
)
def test_errors(client: TestClient, path: str, status: int, message: str) -> None:
    answer = client.get(API + path)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert set(answer.json()["error"]) == {"kind", "message", "hint"}


def test_hints_name_what_there_is(client: TestClient) -> None:
    for path, hint in (
        ("/galleries/none", "Galleries: 'photos'."),
        ("/galleries/photos/items/1?prototypes=x", "Prototypes: 'pets'."),
        ("/galleries/photos/search?kk=3", "Its parameters are query, q, k, offset, "),
        ("/galleries?k=3", "It takes none."),
    ):
        assert client.get(API + path).json()["error"]["hint"].startswith(hint)


@pytest.mark.parametrize(
    ("body", "kind", "message", "hint"),
    [
        ('{"query": cat}', "application/json", "the body is not JSON: expecting value at character 10", "/reference"),
        ('{"query": "cat"}', "text/plain", "the body is not declared as JSON", "Content-Type: application/json"),
        ("[1]", "application/json", "the body is not a JSON object", "/reference"),
        ("", "application/json", "the body is missing", "/reference"),
    ],
)
def test_bodies_that_are_not_json(client: TestClient, body: str, kind: str, message: str, hint: str) -> None:
    answer = client.post(f"{PHOTOS}/search", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, message)
    assert hint in answer.json()["error"]["hint"]


def test_head_is_answered_as_get(client: TestClient) -> None:
    for path, status in ((f"{API}/galleries", 200), (PHOTOS, 200), ("/", 200), (f"{API}/nothing", 404)):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (status, b"")
    assert 'method="HEAD",route="/api/v1/galleries/{gallery}",status="200"' in client.get("/metrics").text


def test_errors_name_the_fields_of_requests(client: TestClient) -> None:
    for path, hint in (
        ("search?q=cat&near=0.5", "Add dedup, or leave near out."),
        ("search?min_score=0", "Give a query, or leave min_score out."),
        ("search?q=cat&where=true;true", None),
    ):
        answer = client.get(f"{PHOTOS}/{path}")
        assert (answer.status_code, "--" in answer.text) == (400, False)
        assert hint in (None, answer.json()["error"]["hint"])


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("Add `dedup`, or search for the text with `literal`.", "Add dedup, or search for the text with literal."),
        ("Lower `min_score`.", "Lower min_score."),
        ("Build it again with `force`, or leave `where` out.", None),
        ("Make it again: zsretrieve index map 'photos'", None),
        ("Write `where`, not '`model`'.", "Write where, not '`model`'."),
        (None, None),
    ],
)
def test_hints_for_the_command_line_alone_are_left_out(hint: str | None, expected: str | None) -> None:
    assert as_http(UsageError("no", hint=hint)).hint == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("`near` has no effect without `dedup`", "near has no effect without dedup"),
        ("`prototypes` has no effect without `explain`", "prototypes has no effect without explain"),
        ("'`min_score`' is both in `more` and `less`", "'`min_score`' is both in more and less"),
        (
            "'it's `near`' and \"`near`\" are not the image's `near`",
            "'it's `near`' and \"`near`\" are not the image's near",
        ),
        ("--unheard-of has no effect", "--unheard-of has no effect"),
        ("`max_pixels` has no effect", "max_pixels has no effect"),
    ],
)
def test_messages_name_fields_and_quote_values_as_they_were_sent(message: str, expected: str) -> None:
    assert as_http(UsageError(message)).message == expected


def test_methods_that_clients_invent_are_counted_as_one(client: TestClient) -> None:
    for number in range(5):
        assert client.request(f"INVENTED{number}", f"{API}/health").status_code == 405
    figures = client.get("/metrics").text
    assert 'method="other"' in figures
    assert "INVENTED" not in figures


def test_figures_and_health(client: TestClient) -> None:
    assert client.get(f"{API}/health").json() == {"status": "ok", "version": zs.__version__}
    client.get(f"{PHOTOS}/search", params={"q": "cat"})
    figures = client.get("/metrics").text
    assert (
        'zsretrieve_requests_total{method="GET",route="/api/v1/galleries/{gallery}/search",status="200"} 1.0' in figures
    )
    assert 'zsretrieve_images{gallery="photos"} 46.0' in figures
    assert "zsretrieve_batch_size_count 1.0" in figures


def test_the_document_names_every_address(client: TestClient) -> None:
    document = client.get(f"{API}/openapi.json").json()
    assert f"{API}/galleries/{{gallery}}/search" in document["paths"]
    assert json.dumps(document).count("HTTPValidationError") == 0
