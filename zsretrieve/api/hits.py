"""What a search returns."""

from __future__ import annotations

import html
from typing import Any

from zsretrieve.domain.found import Explanation, Found, Matching
from zsretrieve.domain.kinds import Expected
from zsretrieve.domain.plain import Table
from zsretrieve.domain.queries import Query
from zsretrieve.domain.records import Hit
from zsretrieve.domain.wording import counted

_SHOWN, _PICTURED = 3, 20
_FIGURE = "display:inline-block;margin:4px;max-width:192px;vertical-align:top;overflow-wrap:anywhere"


class Hits(tuple[Hit, ...], Table):
    """Hits, best first: a tuple that notebooks show with thumbnails, and what is known of the whole ranking.

    A slice of it is a plain tuple.
    """

    _found: Found = Found()

    @classmethod
    def of(cls, found: Found) -> Hits:
        """What a search found."""
        hits = cls(found.hits)
        hits._found = found
        return hits

    @property
    def query(self) -> Query | None:
        """The query as it was understood; its terms do not include feedback."""
        return self._found.query

    @property
    def total(self) -> int:
        """How many images were ranked, see ``zsretrieve.domain.found.Found``."""
        return self._found.total

    @property
    def offset(self) -> int:
        """How many hits of the ranking stand before these."""
        return self._found.offset

    @property
    def next(self) -> int | None:
        """The offset of the next page, None after the last."""
        return self._found.next

    @property
    def revision(self) -> str:
        """What identifies the content of the gallery; pages of one revision fit together."""
        return self._found.revision

    @property
    def matching(self) -> Matching | None:
        """Whether anything seems to match; None where that is not known, as for images."""
        return self._found.matching

    @property
    def explanation(self) -> Explanation | None:
        """The reasons of each hit, if they were asked for."""
        return self._found.explanation

    @property
    def is_exact(self) -> bool:
        """Whether every image was compared; an approximate index may have missed a few."""
        return self._found.is_exact

    @property
    def expected(self) -> Expected | None:
        """The share of the best that an approximate index finds for this kind of query, as ``tune_index`` has measured;
        None if every image was compared, it was never measured, or images are missing.
        """
        return self._found.expected

    @property
    def n_missing(self) -> int:
        """How many images were not compared, since the machines that hold them do not answer; 0 unless on Ray."""
        return self._found.n_missing

    def __repr__(self) -> str:
        shown = [f"{hit.score_text} {hit.title}" for hit in self[:_SHOWN]]
        more = [f"and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        missing = [self._missing] if self.n_missing else []
        return f"Hits({', '.join([*shown, *more, *missing])})"

    @property
    def _missing(self) -> str:
        return f"{counted(self.n_missing, 'image')} not compared"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each hit."""
        return [hit.to_dict() for hit in self]

    def _repr_html_(self) -> str:
        from zsretrieve.domain.settings import Reading
        from zsretrieve.reports.thumbnails import thumbnails

        shown = self[:_PICTURED]
        images = thumbnails([(hit.path, "") for hit in shown if hit.text is None], Reading())
        figures = []
        for hit in shown:
            path, shows = html.escape(hit.path), f"<p>{html.escape(hit.title)}</p>"
            if hit.text is None:
                image = images[hit.path]
                shows = f'<img src="{image.uri}">' if image.uri else f"<em>{html.escape(str(image.problem))}</em>"
            figures.append(
                f'<figure style="{_FIGURE}" title="{path}">{shows}'
                f"<figcaption>{hit.rank}. {hit.score_text} {path}</figcaption></figure>"
            )
        more = f"<p>and {len(self) - len(shown)} more</p>" if len(self) > len(shown) else ""
        missing = f"<p><strong>{self._missing}</strong></p>" if self.n_missing else ""
        return f"{missing}<div>{''.join(figures)}</div>{more}"
