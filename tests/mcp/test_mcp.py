"""The MCP server, asked by the package's own client over stdio."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kits.assistant import ENVIRONMENT, asked, words
from kits.small import CLASSES, Small
from kits.waiting import PATIENCE_S
from kits.without import without
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

import zsretrieve as zs

HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small.made(tmp_path_factory.mktemp("mcp"))


def structured(result: CallToolResult) -> dict[str, Any]:
    """The answer as JSON, which is also there as text."""
    assert not result.is_error, result.content
    (text,) = result.content
    assert isinstance(text, TextContent)
    assert json.loads(text.text) == result.structured_content
    assert result.structured_content is not None
    return result.structured_content


def error(result: CallToolResult) -> str:
    assert result.is_error
    (text,) = result.content
    assert isinstance(text, TextContent)
    return text.text


def test_an_assistant_at_work(small: Small) -> None:
    shapes, prototypes = small.shapes, small.prototypes
    tools, results = asked(
        [shapes, "-p", prototypes],
        [
            ("describe", {}),
            ("describe", {"gallery": "shapes"}),
            ("search", {"query": "a red circle", "k": 3, "where": "id > 1"}),
            ("describe", {"id": 3, "prototypes": "prototypes"}),
            ("classify", {"labels": ["a circle", "a star", "a cross"]}),
            ("classify", {"prototypes": "prototypes", "ids": [0, 3]}),
            ("open_images", {"ids": [3, 5], "size": 128}),
            ("classify", {"labels": ["dog", "cat"]}),
        ],
    )
    assert {tool.name for tool in tools} == {"search", "classify", "describe", "open_images"}
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert all("description" in one for one in tool.input_schema["properties"].values())
    everything, gallery, found, image, typed, some = map(structured, results[:6])
    assert [(one["name"], one["n_images"], one["writable"]) for one in everything["galleries"]] == [
        ("shapes", 25, False)
    ]
    assert everything["prototypes"][0]["galleries"] == ["shapes"]
    assert {one["label"] for one in gallery["labels"]} == set(CLASSES)
    hits = zs.search(shapes, "a red circle", wanted=zs.Wanted(k=3, where="id > 1"), cached=False)
    assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(hit.id, hit.to_dict()["score"]) for hit in hits]
    opened = zs.open_gallery(shapes)
    assert image["path"] == opened.items[3].path
    assert image["classes"][0]["class_name"] == opened.items[3].label
    assert sum(one["n"] for one in typed["classes"]) == 25
    assert [len(one["ids"]) for one in typed["classes"]] == [min(one["n"], 10) for one in typed["classes"]]
    assert [one["id"] for one in some["predictions"] if one["rank"] == 1] == [0, 3]
    captions, images = results[6].content[::2], results[6].content[1::2]
    assert [one.text for one in captions if isinstance(one, TextContent)] == [
        f"{number}: {opened.items[number].path}" for number in (3, 5)
    ]
    assert "cannot distinguish these 2 classes" in structured(results[7])["notes"][0]
    for one in images:
        assert isinstance(one, ImageContent)
        assert one.mime_type == "image/jpeg"
        assert max(Image.open(io.BytesIO(base64.b64decode(one.data))).size) == 128


def test_errors_say_what_to_do(small: Small) -> None:
    missing = next(path for path in small.images.rglob("*.jpg") if path.name == "07.jpg")
    number = next(item.id for item in zs.open_gallery(small.shapes).items if item.path.endswith("07.jpg"))
    content = missing.read_bytes()
    missing.unlink()
    try:
        _, results = asked(
            [small.shapes, small.shapes],
            [
                ("search", {"query": "red"}),
                ("search", {"query": "red", "gallery": "nothing"}),
                ("search", {"query": "red", "gallery": "shapes", "where": "nonsense"}),
                ("search", {"query": "red", "gallery": "shapes", "k": 0, "dedup": "perhaps"}),
                ("open_images", {"gallery": "shapes"}),
                ("open_images", {"gallery": "shapes", "ids": list(range(20))}),
                ("search", {"query": str(small.turned), "gallery": "shapes-2"}),
                ("describe", {"gallery": "shapes", "id": 999}),
                ("describe", {"gallery": "shapes", "prototypes": "nothing"}),
                ("classify", {"gallery": "shapes"}),
                ("open_images", {"gallery": "shapes", "ids": [number]}),
                ("open_images", {"gallery": "shapes", "ids": [number, 0]}),
            ],
        )
    finally:
        missing.write_bytes(content)
    several, unknown, column, number_of_hits, no_ids, ids, text, item, alone, classes, gone, rest = results
    assert "there are several galleries\nhint: Name one of them: shapes, shapes-2." in error(several)
    assert "there is no gallery 'nothing'\nhint: Galleries: 'shapes', 'shapes-2'." in error(unknown)
    assert "there is no column 'nonsense' to filter by\nhint: Columns: id, " in error(column)
    assert error(number_of_hits) == "Error executing tool search: k: input should be greater than or equal to 1"
    assert error(no_ids) == "Error executing tool open_images: ids: field required"
    assert error(ids).startswith("Error executing tool open_images: ids: list should have at most 8 items")
    assert len(structured(text)["hits"]) == 10  # a path is only text
    assert "there is no image 999 in 'shapes'\nhint: " in error(item)
    assert "prototypes describe an image\nhint: Give its id as well." in error(alone)
    assert "exactly one of labels and prototypes names the classes\nhint: " in error(classes)
    assert "the file of this image is not there\nhint: " in error(gone)
    assert [one.type for one in rest.content] == ["text", "text", "image"]
    assert isinstance(rest.content[0], TextContent)
    assert rest.content[0].text.endswith("the file of this image is not there")
    for result in results:
        assert "Traceback" not in str(result.content)


@pytest.mark.parametrize(("number", "code"), [(None, 0), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_end_and_nothing_else_on_stdout(small: Small, number: int | None, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, *words(small.shapes)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(HELLO) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert answer["result"]["serverInfo"]["name"] == "zsretrieve"
        assert "describe" in answer["result"]["instructions"]
        if number is None:
            process.stdin.close()
        else:
            process.send_signal(number)
        assert process.wait(PATIENCE_S) == code
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""


def test_without_the_package(small: Small) -> None:
    command = [sys.executable, *words("/no/such/gallery")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=without("mcp"))
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first == "error: zsretrieve mcp needs the package mcp"
    assert second.startswith("hint: Install it: ")
    assert "zsretrieve[mcp]" in second


def test_what_is_not_a_gallery(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *words(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: '{tmp_path}' is not an index")
