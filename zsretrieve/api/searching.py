"""Searching galleries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zsretrieve.api.models import load_encoder, precision_of_queries, remembering
from zsretrieve.api.opening import PathLike, open_gallery
from zsretrieve.ports import Encoder
from zsretrieve.records import Hit
from zsretrieve.store.indexes import Gallery
from zsretrieve.verbs import search as _search


def search(
    gallery: Gallery | PathLike,
    query: str,
    encoder: Encoder | Callable[[], Encoder] | None = None,
    *,
    k: int | None = None,
    literal: bool = False,
    exif: bool | None = None,
    where: str | None = None,
    dedup: bool = False,
    near: float = _search.DEFAULT_NEAR,
) -> tuple[Hit, ...]:
    """The k pictures nearest to a query: words, the path of a picture, or ``a + b - 2:c``.

    Parameters
    ----------
    gallery : Gallery or path
    query : str
    encoder : Encoder, or a function that gives one, optional
        By default the model that the gallery's passport names is loaded if the query needs it; a text that was
        searched for lately does not, since its vector is kept in the user's cache folder.
    k : int, optional
        Ten by default, or as many as there are to search.
    literal : bool
        Take the query as one text whatever signs it holds.
    exif : bool, optional
        Turn query pictures upright as their EXIF orientation says; by default as the gallery's were.
    where : str, optional
        Search only the pictures that pass this filter, see ``zsretrieve.filters``.
    dedup : bool
        Leave out hits that show the same picture as a better hit: equal files, or a score between the two of at
        least ``near``.
    near : float
    """
    return search_all(gallery, [query], encoder, k=k, literal=literal, exif=exif, where=where, dedup=dedup, near=near)[
        0
    ]


def search_all(
    gallery: Gallery | PathLike,
    queries: Sequence[str],
    encoder: Encoder | Callable[[], Encoder] | None = None,
    *,
    k: int | None = None,
    literal: bool = False,
    exif: bool | None = None,
    where: str | None = None,
    dedup: bool = False,
    near: float = _search.DEFAULT_NEAR,
) -> list[tuple[Hit, ...]]:
    """``search`` for several queries; all of them are read before any is answered."""
    opened = gallery if isinstance(gallery, Gallery) else open_gallery(gallery)

    def given() -> Encoder:
        if encoder is None:
            precision = precision_of_queries(opened.manifest.encoding)
            return remembering(
                opened.space, lambda: load_encoder(opened.space.model, precision=precision), precision=precision
            )
        return encoder() if callable(encoder) else encoder

    read = [_search.read_query(query, literal=literal) for query in queries]
    return _search.search(opened, read, given, k=k, exif=exif, where=where, near=near if dedup else None)
