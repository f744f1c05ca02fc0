"""The client returns what the library returns."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.small import Served
from kits.waiting import PATIENCE_S
from PIL import Image

import zsretrieve as zs
from zsretrieve.client import Client
from zsretrieve.evaluation.classify import classify_vectors


def of_library(served: Served, query: Any, wanted: zs.Wanted) -> zs.Hits:
    return zs.search(served.shapes, query, wanted=wanted, cached=False)


def below(served: Served, record: Any) -> Any:
    """A record with its path as the server shows it."""
    return replace(record, path=str(Path(record.path).relative_to(served.images)))


def test_what_is_served(client: Client, served: Served) -> None:
    opened = zs.open_gallery(served.shapes)
    assert client.health() == zs.__version__
    (gallery,) = client.galleries()
    assert (gallery.name, gallery.n_images, gallery.model, gallery.writable) == ("shapes", 25, "demo", True)
    assert (gallery.revision, gallery.dim) == (opened.revision, opened.space.dim)
    detail = client.gallery("shapes")
    assert replace(detail, labels=(), folders=(), first_date=None, last_date=None) == gallery
    assert (detail.labels[0].name, detail.labels[0].n) == ("red star", 5)
    assert sum(folder.n for folder in detail.folders) == 25
    (prototypes,) = client.prototypes()
    assert (prototypes.name, prototypes.n_classes, prototypes.galleries) == ("prototypes", 6, ("shapes",))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("a red circle", {}),
        ("a red circle - 0.5:a star + id:3", {"k": 3, "offset": 2}),
        ("a - b", {"literal": True}),
        ("a star", {"minus": ("red",), "more": (1, 2), "less": (5,), "where": "id < 20"}),
        ("a star", {"dedup": True, "near": 0.97, "min_score": 0.1, "order": "date"}),
        (None, {"more": (4,)}),
        (None, {}),
        ([zs.Term("a star", 2), zs.Term(zs.ItemId(5), -0.5, (0, 0, 0.5, 1))], {}),
    ],
)
def test_searches_are_those_of_the_library(client: Client, served: Served, query: Any, wanted: dict[str, Any]) -> None:
    asked = zs.Wanted(**{"k": 7, **wanted})
    found, known = client.search("shapes", query, asked), of_library(served, query, asked)
    assert isinstance(found, zs.Hits)
    assert tuple(found) == tuple(below(served, hit) for hit in known) != ()
    assert (found.total, found.next, found.offset) == (known.total, known.next, known.offset)
    assert found.revision == known.revision
    assert found.matching == known.matching


def test_reasons_are_those_of_the_library(client: Client, served: Served) -> None:
    wanted = zs.Wanted(k=3, explain=True)
    found, known = (ask(query="red + a star", wanted=wanted) for ask in (
        lambda **what: client.search("shapes", **what), lambda **what: of_library(served, **what)
    ))  # fmt: skip
    assert found.explanation is not None
    assert known.explanation is not None
    assert found.explanation.terms == known.explanation.terms
    assert [term.value for term in found.query.terms] == ["red", "a star"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "F"])
def test_open_images_are_sent_as_they_are(client: Client, served: Served, mode: str) -> None:
    image = Image.open(served.images / "red circle" / "00.jpg")
    image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    wanted = zs.Wanted(k=5)
    found, known = client.search("shapes", image, wanted), of_library(served, image, wanted)
    assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in known]


def test_files_pixels_and_parts_are_sent(client: Client, served: Served) -> None:
    turned, wanted = served.turned, zs.Wanted(k=5)
    part = zs.Term(turned, 1.0, (0.1, 0.0, 1.0, 0.5))
    with Image.open(turned) as image:
        queries = [turned, image.copy(), np.asarray(image), part, f"{turned} + at night"]
    for query in queries:
        assert [(hit.id, hit.score) for hit in client.search("shapes", query, wanted)] == [
            (hit.id, hit.score) for hit in of_library(served, query, wanted)
        ]


def test_pages_fit_together(client: Client) -> None:
    first = client.search("shapes", "red", zs.Wanted(k=20))
    rest = client.search("shapes", "red", zs.Wanted(k=20, offset=first.next), revision=first.revision)
    assert sorted(hit.id for hit in (*first, *rest)) == list(range(25))
    assert rest.next is None
    with pytest.raises(zs.UsageError, match="has changed"):
        client.search("shapes", "red", revision="older")


def test_items(client: Client, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsretrieve.client.client._PAGE", 10)
    known = [
        replace(item, digest="", mtime_ns=item.mtime_ns // 10**9 * 10**9)
        for item in zs.open_gallery(served.shapes).items
    ]
    assert list(client.items("shapes")) == known
    assert [item.id for item in client.items("shapes", where="id in (3, 5)")] == [3, 5]
    newest = list(client.items("shapes", order="date"))
    assert sorted(newest, key=lambda item: item.id) == known
    described = client.item("shapes", 3, prototypes="prototypes")
    assert (described.item, described.missing) == (known[3], False)
    opened = zs.open_gallery(served.shapes)
    (known_classes,) = classify_vectors(opened.index.stored(np.array([3])), zs.open_prototypes(served.prototypes))
    assert described.classes == known_classes
    assert described.neighbours[0].rank == 1
    assert 3 not in [hit.id for hit in described.neighbours]


def test_images(client: Client, served: Served) -> None:
    item = next(client.items("shapes"))
    assert client.image("shapes", item.id).tobytes() == Image.open(served.images / item.path).tobytes()
    assert max(client.thumbnail("shapes", item.id, size=128).size) == 128


def test_classes_are_those_of_the_library(client: Client, served: Served) -> None:
    # The server does not send the sizes of images with their classes.
    local = zs.classify(served.shapes, served.prototypes, k=2).results
    known = [replace(below(served, one), width=0, height=0) for one in local]
    found = client.classify("shapes", prototypes="prototypes", ids=list(range(25)), k=2)
    assert list(found.results) == known
    assert found.n == sum(one.n for one in found.classes) == 25
    typed = client.classify("shapes", ["a circle", "a star", "a cross"], where="label like '%star'")
    assert (typed.classes[0].class_name, typed.n, typed.results) == ("a star", 9, ())


def test_the_evaluation_is_that_of_the_library(client: Client, served: Served) -> None:
    found, known = client.evaluate("shapes", "prototypes"), zs.evaluate(served.shapes, served.prototypes)
    assert found == known
    assert found.to_dict() == known.to_dict()
    assert found.run.class_names == known.run.class_names


def test_duplicates_are_those_of_the_library(client: Client, served: Served) -> None:
    known = [
        replace(group, items=tuple(below(served, one) for one in group.items))
        for group in zs.find_duplicates(served.shapes, near=0.9)
    ]
    assert list(client.duplicates("shapes", near=0.9)) == known != []


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda c: c.search("nothing", "red"), zs.UsageError, "there is no gallery 'nothing'"),
        (lambda c: c.search("shapes", "red", zs.Wanted(where="nonsense")), zs.FilterError, "there is no column"),
        (lambda c: c.search("shapes", "cat - cat"), zs.QueryError, "cancel out"),
        (lambda c: c.search("shapes", "nothing.jpg"), zs.QueryError, "there is no image 'nothing.jpg'"),
        (lambda c: c.search("shapes", "id:999"), zs.QueryError, "999"),
        (lambda c: c.search("shapes", "red \udcff"), zs.UsageError, "unicode"),
        (lambda c: c.search("shapes", np.ones(128, np.float32)), zs.QueryError, "takes no vectors"),
        (lambda c: c.search("shapes", "red", zs.Wanted(k=1001)), zs.UsageError, "less than or equal to 1000"),
        (lambda c: c.search("shapes", "red", zs.Wanted(exif=False)), zs.UsageError, "turns query images"),
        (lambda c: c.search("shapes", Image.new("HSV", (4, 4))), zs.QueryError, "the image cannot be sent"),
        (lambda c: c.thumbnail("shapes", 999), zs.UsageError, "there is no image 999"),
        (lambda c: list(c.items("shapes", where="\udcff")), zs.UsageError, "not UTF-8"),
        (lambda c: c.classify("shapes", ["a", "a"], prototypes="x"), zs.UsageError, "exactly one of"),
        (lambda c: c.evaluate("shapes", "nothing"), zs.UsageError, "there are no prototypes 'nothing'"),
        (lambda c: c.add("shapes", "relative"), zs.UsageError, "not an absolute path"),
    ],
)  # fmt: skip
def test_errors_are_those_of_the_library(client: Client, ask: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(zs.ZsRetrieveError, match=message) as raised:
        ask(client)
    assert type(raised.value) is kind
    assert raised.value.hint


def test_no_model_library_is_loaded(served: Served) -> None:
    code = f"""
import sys
from zsretrieve.client import Client
from zsretrieve.evaluation.classify import classify_vectors
with Client({served.address!r}) as client:
    hits = client.search("shapes", {str(served.turned)!r})
    client.thumbnail("shapes", hits[0].id)
    client.evaluate("shapes", "prototypes")
print(len(hits), [name for name in ("torch", "openvino", "open_clip", "transformers", "faiss") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.strip() == "10 []", done.stderr


def test_images_are_added_and_followed(client: Client, served: Served, tmp_path: Path) -> None:
    """Last, since it changes what is served, and changes it back."""
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(served.turned, more)
    (more / "damaged.jpg").write_bytes(b"not an image")
    stages: list[tuple[str, int, int]] = []
    changes = client.add("shapes", str(more), on_stage=lambda *stage: stages.append(stage))
    assert (changes.added, changes.encoded, len(changes.skipped)) == (1, 1, 1)
    assert all(0 <= done <= total or total == 0 for _, done, total in stages)
    assert client.gallery("shapes").n_images == 26
    (more / "turned.jpg").unlink()
    changes = client.sync("shapes")
    assert (changes.added, changes.removed, changes.unchanged) == (0, 1, 25)
    with pytest.raises(zs.ServerError, match=r"the job failed: .*none"):
        client.add("shapes", str(tmp_path / "none"))
