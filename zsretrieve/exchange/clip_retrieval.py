"""Folders as ``clip-retrieval inference`` writes them: parts of vectors and of metadata with the same numbers.

Numbers may be padded with zeros, and a part that came out empty is missing. clip-retrieval itself reads the parts in
the order of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.records import Item, Manifest
from zsretrieve.domain.settings import Form
from zsretrieve.domain.wording import one_line
from zsretrieve.exchange import parquet, plain
from zsretrieve.exchange.foreign import BLOCK_ROWS, Block, ForeignVectors, checked, item
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.rows import write_npy

VECTORS, METADATA, TEXTS = "img_emb", "metadata", "text_emb"
PART_ROWS = 1_000_000

_VECTOR_PART = re.compile(r"img_emb_(\d+)\.npy")
_METADATA_PART = re.compile(r"metadata_(\d+)\.parquet")
_COLUMNS = pa.schema(
    [
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        # For reading the folder back: exact even if the names are not UTF-8.
        pa.field("id", pa.int64(), nullable=False),
        pa.field("path", pa.binary(), nullable=False),
        pa.field("label", pa.binary()),
    ]
)


def is_folder_of_parts(folder: Path) -> bool:
    """Whether a folder has the layout of clip-retrieval."""
    return (folder / VECTORS).is_dir()


def is_ours(folder: Path) -> bool:
    """Whether a folder holds an export of this program and nothing else."""
    try:
        every = {path.relative_to(folder).parts for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    except OSError:
        return False
    parts = [names for names in every if len(names) == 2]
    tables = [names for names in parts if names[0] == METADATA and _METADATA_PART.fullmatch(names[1])]
    arrays = [names for names in parts if names[0] == VECTORS and _VECTOR_PART.fullmatch(names[1])]
    return 0 < len(tables) == len(arrays) == len(every) / 2 and all(
        parquet.is_ours(folder.joinpath(*names)) for names in tables
    )


def open_vectors(folder: Path) -> ForeignVectors:
    """Open all parts, in the order of their numbers.

    Raises
    ------
    SourceError
        If a part has no counterpart, cannot be read, or has another number of rows or another dimension.
    """
    arrays = _parts(folder / VECTORS, _VECTOR_PART)
    tables = _parts(folder / METADATA, _METADATA_PART)
    if not arrays:
        raise SourceError(f"there is no img_emb_0.npy in '{folder / VECTORS}'", hint="Was clip-retrieval interrupted?")
    if arrays.keys() != tables.keys():
        number = min(arrays.keys() ^ tables.keys())
        there, lacking = (arrays, "metadata") if number in arrays else (tables, "vectors")
        raise SourceError(
            f"'{there[number]}' has no {lacking} of the same number: {len(arrays)} parts of vectors, {len(tables)} of "
            "metadata",
            hint="Was clip-retrieval interrupted? Run it again, or remove the part.",
        )
    vectors = [plain.map_matrix(path) for path in arrays.values()]
    first, dim = next(iter(arrays.values())), vectors[0].shape[1]
    items: list[Item] = []
    manifest: Manifest | None = None
    for mapped, path, table_path in zip(vectors, arrays.values(), tables.values(), strict=True):
        if mapped.shape[1] != dim:
            raise SourceError(
                f"'{path}' holds vectors of {mapped.shape[1]} numbers and '{first}' of {dim}",
                hint="Parts of two models cannot be one gallery.",
            )
        part, of_part = _read_items(table_path, len(items))
        if items and of_part != manifest:
            raise SourceError(
                f"'{table_path}' and the parts before it are of two exports", hint="Import them one by one."
            )
        manifest = of_part
        if len(part) != len(mapped):
            raise SourceError(
                f"'{path}' holds {len(mapped)} vectors, but '{table_path}' holds {len(part)} rows",
                hint="Was clip-retrieval interrupted? Run it again.",
            )
        items += part
    notes = (f"{TEXTS}/ is ignored: a gallery holds images",) if (folder / TEXTS).is_dir() else ()
    dtype = np.result_type(*vectors)
    return ForeignVectors(
        Form.CLIP_RETRIEVAL, folder, checked(items, folder), dim, dtype, lambda: _blocks(vectors), manifest, notes
    )


def write_gallery(folder: Path, gallery: Gallery, part_rows: int = PART_ROWS) -> None:
    """Write a gallery in float16, ``part_rows`` images per part."""
    (folder / VECTORS).mkdir(parents=True)
    (folder / METADATA).mkdir()
    # Without the skipped files, which every part would repeat.
    metadata = parquet.manifest_metadata(replace(gallery.manifest, skipped=()), half=True)
    count = len(gallery.items)
    starts = range(0, max(count, 1), part_rows)
    width = len(str(len(starts)))
    for number, start in enumerate(starts):
        stop = min(start + part_rows, count)
        name = str(number).zfill(width)
        firsts = range(start, stop, BLOCK_ROWS)
        blocks = (gallery.live.take(np.arange(first, min(first + BLOCK_ROWS, stop))) for first in firsts)
        shape = (stop - start, gallery.space.dim)
        write_npy(folder / VECTORS / f"img_emb_{name}.npy", blocks, shape, np.dtype(np.float16))
        table = _table(gallery, gallery.items[start:stop]).replace_schema_metadata(metadata)
        pq.write_table(table, folder / METADATA / f"metadata_{name}.parquet")


def _table(gallery: Gallery, items: Sequence[Item]) -> pa.Table:
    columns = {
        "image_path": [parquet.visible(gallery.path_of(one)) for one in items],
        "caption": [None if one.label is None else parquet.visible(one.label) for one in items],
        "id": [one.id for one in items],
        "path": [os.fsencode(one.path) for one in items],
        "label": [None if one.label is None else os.fsencode(one.label) for one in items],
    }
    return pa.table(columns, schema=_COLUMNS)


def _read_items(path: Path, before: int) -> tuple[list[Item], Manifest | None]:
    table = parquet.read_table(path, ("image_path", "id", "path", "label"))
    manifest = parquet.read_manifest(table.schema, path)
    if manifest is not None:
        return list(parquet.read_items(table, path)), manifest
    if "image_path" not in table.column_names:
        raise SourceError(
            f"'{path}' has no column 'image_path'", hint="clip-retrieval writes it when it encodes images."
        )
    # Without our manifest, `id` and `path` may be anyone's metadata and mean anything.
    paths = parquet.read_column(table, "image_path", pa.binary(), path)
    labels = [None] * len(paths)
    if "label" in table.column_names:
        labels = parquet.read_column(table, "label", pa.binary(), path)
    return [
        item(before + row, parquet.text(name) or "", parquet.text(label) or None)
        for row, (name, label) in enumerate(zip(paths, labels, strict=True))
    ], None


def _parts(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    parts: dict[int, Path] = {}
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise SourceError(f"'{folder}' cannot be read: {one_line(error)}", hint="Check the folder.") from error
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        number = int(match[1])
        if number in parts:
            raise SourceError(
                f"'{folder}' holds two parts with the number {number}: '{parts[number].name}' and '{name}'",
                hint="Two runs are mixed there; remove one of them.",
            )
        parts[number] = folder / name
    return dict(sorted(parts.items()))


def _blocks(vectors: list[Any]) -> Iterator[Block]:
    for mapped in vectors:
        yield from plain.slices(mapped)
