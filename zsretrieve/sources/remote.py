"""Folders behind URLs."""

from __future__ import annotations

from urllib.parse import unquote

from zsretrieve.archives import Kind, kind_of, names
from zsretrieve.archives import remote as files
from zsretrieve.errors import SourceError
from zsretrieve.images import is_image_name
from zsretrieve.sources.archived import archived
from zsretrieve.sources.listing import Source, SourceFile


def remote_folder(url: str) -> Source:
    """All pictures below a URL, sorted, labelled by the first folder below it; else those of its Parquet files.

    Raises
    ------
    SourceError
        If it cannot be listed or holds no picture.
    OptionalDependencyError
        If a package for such URLs is not installed.
    """
    root = url.rstrip("/")
    prefix = f"{root}/"
    below = sorted(
        {found.removeprefix(prefix) for found in files.find(url) if found.startswith(prefix)},
        key=lambda name: name.split("/"),
    )
    shown = [name for name in below if not names.is_hidden(name)]
    pictures = [name for name in shown if is_image_name(name)]
    if not pictures:
        tables = [prefix + name for name in shown if kind_of(name) is Kind.PARQUET]
        if tables:
            source = archived(tables, root=root)
            return Source(root, source.files, source.skipped, where=url)
        raise SourceError(
            f"there are no images below '{url}'",
            hint="Give a folder, a picture, or a .tar, .zip or .parquet file; a web page must list its files.",
        )
    quoted = root.startswith("http")
    labels = [names.first_folder(name) for name in pictures]
    return Source(
        root,
        tuple(
            SourceFile(name, unquote(label) if quoted and label is not None else label)
            for name, label in zip(pictures, labels, strict=True)
        ),
        where=url,
    )
