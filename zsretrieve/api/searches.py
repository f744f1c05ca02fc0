"""Saved searches of galleries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.wanted import Wanted
from zsretrieve.gallery.query_vectors import QueryLike, read_query, read_terms
from zsretrieve.store import manifest as manifests
from zsretrieve.store import searches
from zsretrieve.store.indexes import Gallery
from zsretrieve.store.named import folder_of
from zsretrieve.store.searches import SavedSearch


def saved_searches(gallery: Gallery | PathLike) -> list[SavedSearch]:
    """The saved searches of a gallery, by name. Raises IntegrityError if their file is damaged."""
    return list(searches.read(_folder(gallery)).values())


def saved_search(gallery: Gallery | PathLike, name: str) -> SavedSearch:
    """A saved search of a gallery: run it with ``zs.search(gallery, saved.query, wanted=saved.wanted)``.

    Raises QueryError if there is none of this name.
    """
    return searches.named(searches.read(_folder(gallery)), name)


def save_search(
    gallery: Gallery | PathLike, name: str, query: QueryLike = None, wanted: Wanted | None = None
) -> SavedSearch:
    """Keep a search in the folder of a gallery, in place of one of the same name.

    Parameters
    ----------
    gallery : Gallery or path
    name : str
    query, wanted : optional
        As for ``search``. Paths are kept as absolute ones; ``offset`` and ``explain`` are not kept.

    Raises
    ------
    UsageError
        If the name is empty, too long or not printable.
    QueryError
        As for ``search``, and if a term is an image or a vector in memory.
    IndexFolderError
        If another process is writing the gallery, or the system refuses.
    """
    wanted = wanted or Wanted()
    terms = read_terms(query, wanted)
    if any(term.path is not None for term in read_query(None, wanted).terms):
        # As terms, files keep their absolute paths.
        terms, wanted = read_query(query, wanted), replace(wanted, minus=())
    return searches.save(_folder(gallery), SavedSearch(name, terms, wanted))


def delete_search(gallery: Gallery | PathLike, name: str) -> None:
    """Forget a saved search. Raises QueryError if there is none of this name, and as ``save_search`` does."""
    searches.delete(_folder(gallery), name)


def _folder(gallery: Gallery | PathLike) -> Path:
    if not isinstance(gallery, Gallery):
        folder = folder_of(gallery)
        manifests.read(folder)
        return folder
    if gallery.folder is None:
        raise UsageError("a gallery in memory has no saved searches", hint="Build it in a folder.")
    return gallery.folder
