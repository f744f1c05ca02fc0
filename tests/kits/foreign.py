"""Vectors in the files of others, written the way those write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import zsretrieve as zs
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.store.indexes import Gallery

DIM = 32


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return unit_rows(np.random.default_rng(seed).standard_normal((count, DIM)))


def opened(folder: Path) -> Gallery:
    return zs.open_gallery(folder, device="cpu")


def clip_parts(folder: Path, sizes: list[int], *, names: Callable[[int], str] = str, **columns: Any) -> NDArray[Any]:
    """A folder as clip-retrieval 2.45 writes it: float16, text embeddings too, metadata by pandas; its vectors."""
    made = [vectors(size, seed=number).astype(np.float16) for number, size in enumerate(sizes)]
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, part in enumerate(made):
        np.save(folder / "img_emb" / f"img_emb_{names(number)}.npy", part)
        np.save(folder / "text_emb" / f"text_emb_{names(number)}.npy", part)
        metadata = {
            "image_path": [f"shots/{number}-{row}.jpg" for row in range(len(part))],
            "caption": [f"caption {row}" for row in range(len(part))],
            "NSFW": ["UNLIKELY"] * len(part),
            "url": ["https://example.org/x.jpg"] * len(part),
            "width": [640.0] * len(part),
            "id": [f"anything {row}" for row in range(len(part))],
            "path": [7] * len(part),
        } | {key: [value] * len(part) for key, value in columns.items()}
        pq.write_table(pa.table(metadata), folder / "metadata" / f"metadata_{names(number)}.parquet")
    return np.concatenate(made)


def npy_with_list(folder: Path, array: NDArray[Any], paths: bytes | None = None) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    np.save(folder / "v.npy", array)
    (folder / "list.txt").write_bytes(
        b"".join(f"{row}.jpg\n".encode() for row in range(len(array))) if paths is None else paths
    )
    return folder / "v.npy", folder / "list.txt"
