"""Which pictures of a gallery a question is asked of."""

from __future__ import annotations

from zsretrieve.errors import SourceError
from zsretrieve.filters import selection
from zsretrieve.store.indexes import Gallery
from zsretrieve.vectors import Rows


def selected(gallery: Gallery, where: str | None) -> Rows | None:
    """The rows that pass a filter, ascending; None where there is no filter.

    Raises
    ------
    SourceError
        If the gallery is empty.
    FilterError
        If the filter cannot be used, or nothing passes it.
    """
    if not gallery.items:
        name = "the gallery" if gallery.folder is None else f"the gallery '{gallery.folder}'"
        raise SourceError(f"{name} is empty", hint="Put pictures into it with: zsretrieve index add")
    return selection(gallery.items, where)
