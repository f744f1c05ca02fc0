"""Some images of a gallery, by their IDs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from zsretrieve.api.indexes import cpu_backend, open_gallery
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.records import Changes, PathLike
from zsretrieve.gallery import selecting as _selecting
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.named import folder_of


def label_images(gallery: PathLike, labels: Mapping[int, str | None]) -> Changes:
    """Give images of a gallery other labels, or none, by their IDs. Nothing is encoded, and the IDs stay.

    Parameters
    ----------
    gallery : path
    labels : mapping of int to str or None

    Raises
    ------
    UsageError
        If a label is empty.
    QueryError
        If there is no image with one of the IDs; then nothing is changed.
    """
    if any(label is not None and not label.strip() for label in labels.values()):
        raise UsageError("a label is empty", hint="Give None to remove a label.")
    return _selecting.label_images(folder_of(gallery), labels, cpu_backend())


def subset(gallery: Gallery | PathLike, ids: Collection[int], out: PathLike) -> Gallery:
    """A gallery of some images of another, with the same IDs and vectors; the image files stay where they are.

    It follows no source: ``sync`` changes nothing in it.

    Parameters
    ----------
    gallery : Gallery or path
    ids : collection of int
    out : path

    Raises
    ------
    UsageError
        If there are no IDs.
    QueryError
        If there is no image with one of them.
    OutputExistsError
        If ``out`` holds something already.
    """
    if not ids:
        raise UsageError("a gallery of no images cannot be made", hint="Give the IDs of some images.")
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery, device="cpu")
    return _selecting.subset(opened, ids, folder_of(out), cpu_backend())
