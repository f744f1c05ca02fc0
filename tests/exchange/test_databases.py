"""What a vector database reads of an export, by its files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from kits.foreign import DIM, opened
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs
from zsretrieve.domain.errors import OutputExistsError, UsageError
from zsretrieve.exchange import databases, parquet

DATABASES = ("milvus", "lancedb", "qdrant")


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    """A gallery with names that are not UTF-8, and an image without a label."""
    zs.build_gallery(photos, tmp_path / "gallery", HashingEncoder())
    return tmp_path / "gallery"


def shown(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("form", DATABASES)
def test_the_columns_and_what_they_hold(gallery: Path, tmp_path: Path, form: str) -> None:
    before = opened(gallery)
    assert zs.export_index(gallery, tmp_path / "out", form) == len(before.items) == 48
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part_0.parquet"]
    table = pq.read_table(tmp_path / "out" / "part_0.parquet")
    lists = pa.list_(pa.float32(), -1 if form == "milvus" else DIM)
    numbers = [("width", pa.int32()), ("height", pa.int32()), ("bytes", pa.int64()), ("mtime_ns", pa.int64())]
    texts = [("path", pa.string()), ("label", pa.string())]
    assert [(field.name, field.type) for field in table.schema] == [
        ("id", pa.int64()), *texts, *numbers, ("digest", pa.string()), ("vector", lists),
    ]  # fmt: skip
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), before.vectors)
    for row, item in zip(table.drop_columns(["vector"]).to_pylist(), before.items, strict=True):
        label = None if item.label is None else shown(item.label)
        own = {key: value for key, value in vars(item).items() if key not in ("text", "image")}
        assert row == {**own, "path": shown(before.path_of(item)), "label": label}
    assert table["label"].null_count == 1
    assert rb"caf\xe9.png" in b"".join(path.encode() for path in table["path"].to_pylist())
    assert table.schema.metadata[databases.MODEL] == before.space.model.encode()


def test_files_and_row_groups_are_bounded(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 3)
    monkeypatch.setattr(databases, "_FILE_BYTES", 4 * DIM * np.dtype(np.float32).itemsize)
    zs.export_index(gallery, tmp_path / "out", "milvus")
    parts = sorted((tmp_path / "out").iterdir())
    assert [part.name for part in parts] == [f"part_{number:02}.parquet" for number in range(12)]
    for part in parts:
        with pq.ParquetFile(part) as file:
            assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 1]
    whole = pyarrow.dataset.dataset(parts).to_table()
    assert whole["id"].to_pylist() == [item.id for item in opened(gallery).items]
    assert zs.export_index(gallery, tmp_path / "out", "milvus", force=True, part_rows=40) == 48
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_float16_halves_the_vectors_where_the_database_takes_them(gallery: Path, tmp_path: Path) -> None:
    zs.export_index(gallery, tmp_path / "out", "lancedb", half=True)
    table = pq.read_table(tmp_path / "out" / "part_0.parquet")
    assert table.schema.field("vector").type == pa.list_(pa.float16(), DIM)
    exact = opened(gallery).vectors.astype(np.float16)
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float16), exact)
    with pytest.raises(UsageError, match="float32 only"):
        zs.export_index(gallery, tmp_path / "refused", "milvus", half=True)
    assert not (tmp_path / "refused").exists()


def test_an_export_for_another_database_is_left_alone(gallery: Path, tmp_path: Path) -> None:
    zs.export_index(gallery, tmp_path / "out", "qdrant")
    for form in ("milvus", "lancedb"):
        with pytest.raises(OutputExistsError, match="is not an export of this form"):
            zs.export_index(gallery, tmp_path / "out", form, force=True)


@pytest.mark.parametrize("form", DATABASES)
def test_an_empty_gallery_is_one_file_without_rows(gallery: Path, tmp_path: Path, form: str) -> None:
    zs.remove(gallery, ["*"])
    assert zs.export_index(gallery, tmp_path / "out", form) == 0
    assert pyarrow.dataset.dataset(tmp_path / "out").to_table().num_rows == 0


def test_a_part_can_be_imported_as_any_parquet(gallery: Path, photos: Path, tmp_path: Path) -> None:
    zs.export_index(gallery, tmp_path / "out", "lancedb")
    part = tmp_path / "out" / "part_0.parquet"
    back = zs.import_gallery(part, tmp_path / "back", HashingEncoder(), root=photos).gallery
    before = opened(gallery)
    assert [(i.id, i.path) for i in back.items] == [(i.id, shown(i.path)) for i in before.items]
    assert np.array_equal(back.vectors, before.vectors)
