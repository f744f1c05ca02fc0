"""The saved searches of a gallery: ``searches.json`` in its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import IntegrityError, QueryError, UsageError, ZsRetrieveError
from zsretrieve.domain.plain import Result
from zsretrieve.domain.queries import Address, ItemId, Query, Term
from zsretrieve.domain.wanted import Wanted
from zsretrieve.domain.wording import one_line
from zsretrieve.images import opening
from zsretrieve.images.addresses import HUB
from zsretrieve.store import files
from zsretrieve.store.folder import repairing
from zsretrieve.store.manifest import SEARCHES
from zsretrieve.system import atomic

_FORMAT, _VERSION = "zsretrieve-searches", 1
_LONGEST_NAME = 100


@dataclass(frozen=True)
class SavedSearch(Result):
    """A search to run again: ``zs.search(gallery, saved.query, wanted=saved.wanted)``."""

    name: str
    query: Query
    wanted: Wanted

    def to_dict(self) -> dict[str, Any]:
        """As in the file, with ``name``; of what is wanted, only what is not as usual."""
        usual = asdict(Wanted())
        wanted = {name: value for name, value in asdict(self.wanted).items() if value != usual[name]}
        wanted = {name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items()}
        terms = [_term_dict(term) for term in self.query.terms]
        return {"name": self.name, "query": self.query.text, "terms": terms, "wanted": wanted}


def read(folder: Path) -> dict[str, SavedSearch]:
    """The saved searches of a gallery by name, in alphabetical order.

    Raises
    ------
    IntegrityError
        If the file is damaged, or of a later version.
    """
    path = folder / SEARCHES
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"it is of the format {content['format']} {content['version']}")
        return {name: _read_one(name, one) for name, one in sorted(content["searches"].items())}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZsRetrieveError) as error:
        raise IntegrityError(
            f"'{path}' does not hold saved searches: {one_line(error)}", hint="Delete the file, or restore it."
        ) from error


def save(folder: Path, search: SavedSearch) -> SavedSearch:
    """Keep a search, in place of one of the same name; returns it as it is kept, with absolute paths.

    Raises
    ------
    UsageError
        If the name is empty, too long or not printable.
    QueryError
        If a term is an image or a vector in memory.
    IndexFolderError
        If another process is writing the gallery, or the system refuses.
    """
    if not search.name.strip() or len(search.name) > _LONGEST_NAME or not search.name.isprintable():
        raise UsageError(
            f"{search.name[:_LONGEST_NAME]!r} cannot be the name of a search",
            hint=f"Give one of at most {_LONGEST_NAME} characters that can be printed.",
        )
    kept = replace(
        search,
        query=replace(search.query, terms=tuple(map(_lasting, search.query.terms))),
        wanted=replace(search.wanted, offset=0, explain=False),
    )
    with repairing(folder):
        _write(folder, {**read(folder), kept.name: kept})
    return kept


def delete(folder: Path, name: str) -> None:
    """Forget a search. Raises QueryError if there is none of this name, and as ``save`` does."""
    with repairing(folder):
        searches = read(folder)
        named(searches, name)
        _write(folder, {key: one for key, one in searches.items() if key != name})


def named(searches: Mapping[str, SavedSearch], name: str) -> SavedSearch:
    """The search of a name. Raises QueryError if there is none."""
    if name not in searches:
        known = (
            f"There are: {', '.join(searches)}." if searches else "Save one with: zsretrieve search ... --save NAME."
        )
        raise QueryError(f"there is no saved search '{name}'", hint=known)
    return searches[name]


def _write(folder: Path, searches: Mapping[str, SavedSearch]) -> None:
    kept = {name: {k: v for k, v in one.to_dict().items() if k != "name"} for name, one in searches.items()}
    content = {"format": _FORMAT, "version": _VERSION, "searches": kept}
    with files.writing_to(folder):
        atomic.write_file(folder / SEARCHES, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _lasting(term: Term) -> Term:
    """A term that means the same in another folder and another process."""
    if isinstance(term.value, str | ItemId):
        return term
    if term.path is None:
        raise QueryError(f"{term.label} cannot be saved in a search", hint="Give it by its path or its ID.")
    is_remote = opening.is_url(term.path) or term.path.startswith(HUB)
    return term if is_remote else replace(term, value=Address(os.path.abspath(term.path)))


def _term_dict(term: Term) -> dict[str, Any]:
    value: dict[str, Any]
    if isinstance(term.value, ItemId):
        value = {"id": term.value.id}
    else:
        value = {"text": term.value} if isinstance(term.value, str) else {"path": term.path}
    box = {} if term.box is None else {"box": list(term.box)}
    return {**value, "weight": term.weight, **box}


def _read_one(name: str, content: dict[str, Any]) -> SavedSearch:
    terms = tuple(map(_read_term, content["terms"]))
    return SavedSearch(name, Query(content["query"], terms), Wanted(**content["wanted"]))


def _read_term(content: dict[str, Any]) -> Term:
    box = None if "box" not in content else tuple(content["box"])
    if "id" in content:
        return Term(ItemId(content["id"]), content["weight"], box)
    return Term(content["text"] if "text" in content else Address(content["path"]), content["weight"], box)
