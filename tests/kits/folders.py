"""Looking into index folders."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Gallery


def file_named(folder: Path, name: str) -> Path:
    """The one file of an index with this last name."""
    (found,) = (folder / path for path in manifests.read(folder).files if path.endswith(f"/{name}"))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table(gallery: Gallery) -> dict[int, tuple[str, str | None, bytes]]:
    """Path, label and vector of every picture, by id."""
    return {
        item.id: (item.path, item.label, row.tobytes())
        for item, row in zip(gallery.items, gallery.vectors, strict=True)
    }
