"""Vector databases import our exports by the lines of docs/exchange.md, and find what we find.

They run in an environment of their own, since Milvus Lite brings a second FAISS.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.environment import output_of, python_with
from kits.foreign import DIM
from kits.hashing_encoder import HashingEncoder
from kits.pictures import picture, pictures

import zsretrieve as zs
from zsretrieve.domain.vectors import Vectors
from zsretrieve.store.indexes import Gallery

pytestmark = pytest.mark.peer

PACKAGES = ("lancedb==0.40.0", "qdrant-client==1.20.0", "pymilvus[bulk_writer]==3.0.2", "milvus-lite==3.2.2", "pyarrow")
PAGE = (Path(__file__).parents[2] / "docs" / "exchange.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with the databases. Skips the test if they cannot be installed."""
    return python_with(PACKAGES, tmp_path_factory.mktemp("databases"))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """A gallery with gaps in its IDs and an image without a label."""
    root = tmp_path_factory.mktemp("exported")
    picture(pictures(root / "photos", 40) / "no label.png", 500)
    zs.build_gallery(root / "photos", root / "gallery", HashingEncoder())
    zs.remove(root / "gallery", ["*/0003.png", "*/0011.png"])
    return zs.open_gallery(root / "gallery", device="cpu")


@pytest.fixture(scope="module")
def query() -> Vectors:
    return HashingEncoder().encode_texts(["a red thing"])[0]


def lines_of(heading: str) -> list[str]:
    """The blocks of Python under a heading of the page."""
    section = PAGE.split(f"#### {heading}\n")[1].split("\n#### ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def run(python: Path, folder: Path, *blocks: str) -> Any:
    """What the last of the blocks prints as JSON."""
    script = "\n".join(["import json, numpy as np", 'query = np.load("query.npy")', *blocks])
    return json.loads(output_of(python, script, folder))


@pytest.fixture
def folder(tmp_path: Path, gallery: Gallery, query: Vectors) -> Path:
    """A folder with the exports that the page writes, and a query."""
    assert gallery.folder is not None
    np.save(tmp_path / "query.npy", query)
    for form in ("milvus", "lancedb", "qdrant"):
        # Two files: what is imported is more than the first.
        zs.export_index(gallery.folder, tmp_path / f"photos-{form}", form, part_rows=30)
    return tmp_path


def check(found: list[list[Any]], gallery: Gallery, query: Vectors, count: int = 5) -> None:
    """The same images as our search finds, in the same order, with the same scores to rounding."""
    hits = zs.search(gallery, query, HashingEncoder(), k=count)
    assert [(number, path) for number, path, _ in found] == [(hit.id, str(hit.path)) for hit in hits]
    np.testing.assert_allclose([score for *_, score in found], [hit.score for hit in hits], atol=1e-6)


def test_lancedb(python: Path, folder: Path, gallery: Gallery, query: Vectors) -> None:
    [lines] = lines_of("LanceDB")
    found, columns, unlabelled, count = run(
        python, folder, lines,
        "columns = {field.name: str(field.type) for field in photos.schema}",
        'unlabelled = photos.count_rows("label is null")',
        "found = [[hit['id'], hit['path'], 1 - hit['_distance']] for hit in hits]",
        "print(json.dumps([found, columns, unlabelled, photos.count_rows()]))",
    )  # fmt: skip
    check(found, gallery, query)
    assert columns["vector"] == f"fixed_size_list<item: float>[{DIM}]"
    assert (unlabelled, count) == (1, len(gallery.items))


def test_qdrant(python: Path, folder: Path, gallery: Gallery, query: Vectors) -> None:
    [lines] = lines_of("Qdrant")
    assert '"http://localhost:6333"' in lines
    found, count = run(
        python, folder, lines.replace('"http://localhost:6333"', '":memory:"'),
        "found = [[hit.id, hit.payload['path'], hit.score] for hit in hits]",
        'print(json.dumps([found, client.count("photos").count]))',
    )  # fmt: skip
    check(found, gallery, query)
    assert count == len(gallery.items)


def test_milvus(python: Path, folder: Path, gallery: Gallery, query: Vectors) -> None:
    create, bulk_import, insert = lines_of("Milvus")
    create = create.replace('"http://localhost:19530"', '"milvus.db"')
    [files] = re.findall(r"^files = .*$", bulk_import, re.MULTILINE)
    found, theirs, ours, same, listed = run(
        python, folder, create, insert,
        "found = [[hit['id'], hit['entity']['path'], hit['distance']] for hit in hits]",
        "import pyarrow.parquet as pq",
        "from pathlib import Path",
        "from pymilvus.bulk_writer import BulkFileType, LocalBulkWriter",
        'writer = LocalBulkWriter(schema=schema, local_path="theirs", file_type=BulkFileType.PARQUET)',
        'ours = pq.read_table("photos-milvus/part_0.parquet")',
        "for row in ours.to_pylist(): writer.append_row(row)",
        "writer.commit()",
        "theirs = pq.read_table(writer.batch_files[0][0]).select(ours.column_names)",
        "types = [[str(field.type) for field in one.schema] for one in (theirs, ours)]",
        files,
        "print(json.dumps([found, *types, theirs.to_pylist() == ours.to_pylist(), files]))",
    )  # fmt: skip
    check(found, gallery, query)
    assert theirs == ours, "Milvus reads what its own writer writes"
    assert same
    assert listed == [["photos-milvus/part_0.parquet"], ["photos-milvus/part_1.parquet"]]
