"""Folders behind URLs."""

from __future__ import annotations

from urllib.parse import unquote

from zsretrieve.domain.errors import SourceError
from zsretrieve.images.archives import Kind, kind_of, members
from zsretrieve.images.archives import remote as files
from zsretrieve.images.content import is_image_name
from zsretrieve.images.sources.archived import archived
from zsretrieve.images.sources.source import Source, SourceFile


def remote_folder(url: str) -> Source:
    """All images below a URL, sorted, labelled by the first folder below it; or those of its Parquet files.

    Raises
    ------
    SourceError
        If it cannot be listed or holds no image.
    OptionalDependencyError
        If a package for such URLs is not installed.
    """
    root = url.rstrip("/")
    prefix = f"{root}/"
    below = {file.removeprefix(prefix) for file in files.find(url) if file.startswith(prefix)}
    shown = [name for name in sorted(below, key=lambda name: name.split("/")) if not members.is_hidden(name)]
    images = [name for name in shown if is_image_name(name)]
    if not images:
        tables = [prefix + name for name in shown if kind_of(name) is Kind.PARQUET]
        if tables:
            source = archived(tables, root=root)
            return Source(root, source.files, source.skipped, origin=url)
        raise SourceError(
            f"there are no images below '{url}'",
            hint="Give a folder, an image, or a .tar, .zip or .parquet file; a web page must list its files.",
        )
    labels = [members.first_folder(name) for name in images]
    if root.startswith("http"):
        labels = [label if label is None else unquote(label) for label in labels]
    return Source(root, tuple(map(SourceFile, images, labels)), origin=url)
