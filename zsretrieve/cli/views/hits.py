"""What a search prints, and what it does with the files of its hits."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_TERM_WIDTH = 14
# How long what opens a file may take to fail.
_OPENING_S = 5


def title(hits: Hits, wanted: Wanted) -> str:
    """What a search was for, where it was not typed."""
    if hits.query is not None and hits.query.text:
        return hits.query.text
    return feedback(wanted) or "all images"


def feedback(wanted: Wanted) -> str:
    """The images that the hits should be like and unlike; empty if there are none."""
    kinds = (("like", wanted.more), ("unlike", wanted.less))
    return " and ".join(f"{how} {', '.join(f'id:{number}' for number in ids)}" for how, ids in kinds if ids)


def rows(query: str, hits: Hits) -> list[dict[str, Any]]:
    """The hits of one query for programs, with the reasons of each if they were asked for."""
    plain = [{"query": query, **hit.to_dict()} for hit in hits]
    if hits.explanation is not None:
        for row, terms in zip(plain, hits.explanation.terms, strict=False):
            row["terms"] = [term.to_dict() for term in terms]
        for row, classes in zip(plain, hits.explanation.classes, strict=False):
            row["classes"] = [one.to_dict() for one in classes]
    return plain


def region(box: tuple[float, float, float, float] | None) -> str:
    """Where a box is, in percent from the left and from the top; empty for the whole image."""
    if box is None:
        return ""
    left, top, right, bottom = (f"{100 * share:.0f}" for share in box)
    return f"{left}-{right} % x {top}-{bottom} %"


def no_match(hits: Hits) -> str | None:
    """The line that says that nothing seems to match."""
    return None if hits.matching is None else hits.matching.warning


def approximate(hits: Hits) -> str | None:
    """The line that says which images were not compared, how much an approximate index finds, or that it may have
    missed something.
    """
    if hits.n_missing:
        return f"{counted(hits.n_missing, 'image')} could not be compared: the machines that hold them do not answer"
    if hits.is_exact:
        return None
    if hits.expected is None:
        return (
            "approximate: the index may have missed a few images; --exact compares them all, and zsretrieve index tune "
            "measures how many are found without a filter"
        )
    expected = hits.expected
    return (
        f"approximate: about {expected.recall.mean:.2f} of the {expected.k} best are found ({expected.queries}); "
        "--exact compares all images"
    )


def show(query: str, hits: Hits, k: int | None, wanted: Wanted) -> None:
    """The hits of one query as a table, which says if there are fewer than asked for, or if nothing seems to match."""
    explanation = hits.explanation
    terms, classes, below = (explanation.terms, explanation.classes, explanation.below) if explanation else ((), (), ())
    # In lines, so that a long term does not take the room of the paths.
    labels = [output.visible(f"{term.weight:+.3g} {term.label}") for term in terms[0]] if terms else []
    names = ["\n".join(textwrap.wrap(label, _TERM_WIDTH)) for label in labels]
    more = ["nearest classes"] if classes else []
    what = "text" if any(hit.text is not None for hit in hits) else "image"
    if any(hit.box for hit in (*hits, *below)):
        more.append("region")
    table = output.table("rank", "score", "id", *names, *more, what, right=("rank", "score", "id", *names))
    for number, hit in enumerate((*hits, *below)):
        scores = [f"{term.score:.4f}" for term in terms[number]] if number < len(terms) else [""] * len(names)
        nearest = ", ".join(one.class_name for one in classes[number]) if number < len(classes) else ""
        gone = " (missing)" if hit.missing else ""
        cells = [str(hit.rank), hit.score_text, str(hit.id), *scores, *([output.cell(nearest)] if classes else [])]
        if "region" in more:
            cells.append(region(hit.box))
        found = f"{output.path_cell(hit.path)}{gone}" if hit.text is None else output.cell(hit.text)
        table.add_row(*cells, found, style="dim" if number >= len(hits) else None)
    typed = query if hits.query is None or not wanted.minus else hits.query.text
    output.show(table, " ".join(filter(None, (typed, feedback(wanted) if hits.query and hits.query.text else ""))))
    if below:
        output.say(f"the last {len(below)} {'row is' if len(below) == 1 else 'rows are'} below the cut")
    for line in filter(None, (no_match(hits), approximate(hits))):
        output.say(line)
    if not hits:
        past = f"--offset {hits.offset} is past the end ({hits.total})"
        output.say("no hits" if hits.total == 0 else past)
    elif k is not None and len(hits) < k and not hits.offset and hits.next is None:
        found = f"only {counted(len(hits), 'image')}"
        least = wanted.min_score
        output.say(f"{found} to search" if least is None else f"{found} with a score of at least {least:g}")


def write_paths(hits: Iterable[Hit], end: str) -> None:
    """The path of each file that is there, once, as its bytes are on disk, each followed by ``end``."""
    sys.stdout.flush()
    for path in dict.fromkeys(hit.path for hit in hits if not hit.missing):
        sys.stdout.buffer.write(os.fsencode(path) + end.encode())
    sys.stdout.buffer.flush()


def copy(hits: Iterable[Hit], folder: Path) -> list[Path]:
    """Copy the files of hits, and note what cannot be copied."""
    import zsretrieve as zs

    before = set(folder.iterdir()) if folder.is_dir() else set()
    copies, skipped = zs.copy_hits(hits, folder)
    for one in skipped:
        output.note(f"not copied: {one.path}: {one.reason}")
    known = sum(place in before for place in copies)
    there = f"; {known} {'was' if known == 1 else 'were'} there already" if known else ""
    output.note(f"{counted(len(copies) - known, 'image')} -> {folder}{there}")
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
            output.say(f"cannot be shown: {error.message}")
        console.print(output.path_cell(path), soft_wrap=True)


def open_file(path: str) -> None:
    """Open a file or a URL in the system's viewer."""
    if "://" not in path and not os.path.exists(path):
        raise SourceError(
            f"'{path}' cannot be opened: there is no such file",
            hint="Images in archives open from a copy: add --copy-to FOLDER.",
        )
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        # Silent: xdg-open lists the programs that it tried.
        viewer = subprocess.Popen(
            [opener, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        code = viewer.wait(_OPENING_S)
    except subprocess.TimeoutExpired:  # it is the viewer itself
        return
    except OSError:
        code = 1
    if code:
        raise SourceError(
            f"no viewer opens '{path}'", hint=f"Install a viewer that {opener} finds, or open the file yourself."
        )
