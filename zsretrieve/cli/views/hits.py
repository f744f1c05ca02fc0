"""What a search prints, and what it does with the files of its hits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from zsretrieve.cli import output
from zsretrieve.domain.errors import ImageError, OptionalDependencyError, SourceError
from zsretrieve.domain.wording import counted
from zsretrieve.system import install_hints

if TYPE_CHECKING:
    from zsretrieve.api.hits import Hits
    from zsretrieve.domain.records import Hit
    from zsretrieve.domain.wanted import Wanted


# The height of an image in the terminal.
_ROWS = 12


def title(hits: Hits, wanted: Wanted) -> str:
    """What a search was for, where it was not typed."""
    if hits.query is not None and hits.query.text:
        return hits.query.text
    kinds = (("like", wanted.more), ("unlike", wanted.less))
    parts = [f"{how} {', '.join(f'id:{number}' for number in ids)}" for how, ids in kinds if ids]
    return " and ".join(parts) or "all images"


def rows(query: str, hits: Hits) -> list[dict[str, Any]]:
    """The hits of one query for programs, with the reasons of each if they were asked for."""
    plain = [{"query": query, **hit.to_dict()} for hit in hits]
    if hits.explanation is not None:
        for row, terms in zip(plain, hits.explanation.terms, strict=False):
            row["terms"] = [term.to_dict() for term in terms]
        for row, classes in zip(plain, hits.explanation.classes, strict=False):
            row["classes"] = [one.to_dict() for one in classes]
    return plain


def no_match(hits: Hits) -> str | None:
    """The line that says that nothing seems to match."""
    matching = hits.matching
    if matching is None or not matching.nothing:
        return None
    return (
        f"nothing in this gallery seems to match: the best score, {matching.best:.3f}, is below "
        f"{matching.threshold:.3f}, which {matching.false_alarms:.0%} of unrelated texts reach"
    )


def approximate(hits: Hits) -> str | None:
    """The line that says that an approximate index may have missed something."""
    return None if hits.is_exact else "approximate: the index may have missed a few images; --exact compares them all"


def show(query: str, hits: Hits, k: int | None, wanted: Wanted) -> None:
    """The hits of one query as a table, which says if there are fewer than asked for, or if nothing seems to match."""
    explanation = hits.explanation
    terms, classes, below = (explanation.terms, explanation.classes, explanation.below) if explanation else ((), (), ())
    names = [output.visible(f"{term.weight:+.3g} {term.label}") for term in terms[0]] if terms else []
    more = ["nearest classes"] if classes else []
    table = output.table("rank", "score", "id", *names, *more, "image", right=("rank", "score", "id", *names))
    for number, hit in enumerate((*hits, *below)):
        if number == len(hits):
            table.add_section()
        scores = [f"{term.score:.4f}" for term in terms[number]] if number < len(terms) else [""] * len(names)
        nearest = ", ".join(one.class_name for one in classes[number]) if number < len(classes) else ""
        gone = " (missing)" if hit.missing else ""
        cells = [str(hit.rank), hit.score_text, str(hit.id), *scores, *([output.cell(nearest)] if classes else [])]
        table.add_row(*cells, f"{output.path_cell(hit.path)}{gone}")
    output.show(table, query)
    if below:
        output.out().print(f"at the end: {counted(len(below), 'hit')} just below the cut", soft_wrap=True)
    for line in filter(None, (no_match(hits), approximate(hits))):
        output.out().print(line, soft_wrap=True)
    if not hits:
        output.out().print("no hit" if hits.total == 0 else f"no hit from {hits.offset} on; there are {hits.total}")
    elif k is not None and len(hits) < k and not hits.offset and hits.next is None:
        which = "to search" if wanted.min_score is None else "of this score"
        found = f"{counted(len(hits), 'image')}, all that there are {which}"
        output.out().print(f"{found}; -k asks for {k}", soft_wrap=True)


def write_paths(hits: Iterable[Hit], end: str) -> None:
    """The path of each file that is there, once, as its bytes are on disk, each followed by ``end``."""
    sys.stdout.flush()
    for path in dict.fromkeys(hit.path for hit in hits if not hit.missing):
        sys.stdout.buffer.write(os.fsencode(path) + end.encode())
    sys.stdout.buffer.flush()


def copy(hits: Iterable[Hit], folder: Path) -> list[Path]:
    """Copy the files of hits, and note what cannot be copied."""
    import zsretrieve as zs

    copies, skipped = zs.copy_hits(hits, folder)
    for one in skipped:
        output.note(f"not copied: {one.path}: {one.reason}")
    output.note(f"{counted(len(copies), 'image')} -> {folder}")
    return copies


def terminal_image() -> Any:
    """What draws an image in the terminal: by kitty's protocol or sixel, else as coloured half blocks."""
    try:
        from textual_image.renderable import Image
    except ImportError as error:
        raise OptionalDependencyError(
            "--show needs the package textual-image", hint=f"Install it: {install_hints.install('textual-image')}"
        ) from error
    return Image


def show_images(hits: Iterable[Hit], image: Any) -> None:
    """Draw each hit once, with its path."""
    import zsretrieve as zs

    console = output.out()
    for path in dict.fromkeys(hit.path for hit in hits):
        try:
            console.print(image(zs.read_image(path), width="auto", height=_ROWS))
        except ImageError as error:
            console.print(f"cannot be shown: {error.message}", markup=False)
        console.print(output.path_cell(path), soft_wrap=True)


def open_file(path: str) -> None:
    """Open a file or a URL in the system's viewer."""
    if "://" not in path and not os.path.exists(path):
        raise SourceError(
            f"'{path}' cannot be opened: there is no such file",
            hint="Images in archives open from a copy: add --copy-to FOLDER.",
        )
    if typer.launch(path) != 0:
        raise SourceError(f"no viewer opens '{path}'", hint="Install xdg-utils, or open it yourself.")
