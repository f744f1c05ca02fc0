"""``zsretrieve search``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.cli.output import OutputFormat
from zsretrieve.cli.views import hits as views
from zsretrieve.cli.wanting import REFINING, Given
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.text_files import lines_of, read_text
from zsretrieve.domain.wording import counted, shorten

if TYPE_CHECKING:
    from zsretrieve.api.hits import Hits

_FILES, _SAVED = "What to do with the hits", "Saved searches"


@grouped
def search(
    gallery: Annotated[
        Path, typer.Argument(metavar="GALLERY", help="A gallery index or its @NAME; with --build a folder of images.")
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY...",
            help="One query: words, with or without quotes, the path of an image, or a mix: "
            '"photo.jpg + at night - 0.5:people"; quote a path that holds " - " or " + ".',
        ),
    ] = None,
    *,
    compute: options.ComputeTexts,
    query: Annotated[
        list[str] | None, typer.Option("-q", "--query", metavar="QUERY", help="One of several queries; repeat it.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", metavar="FILE", help="A file with one query per line; - is stdin."),
    ] = None,
    build: Annotated[
        bool,
        typer.Option(
            "--build",
            help="Index a folder first, with --model, and keep the index by name (see index list); later update it.",
        ),
    ] = False,
    given: Given,
    form: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TABLE,
    paths: Annotated[
        bool, typer.Option("--paths", rich_help_panel=_FILES, help="Print only the paths of the hits, one per line.")
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "-0", "--null", rich_help_panel=_FILES, help="Print only the paths, each followed by NUL, for xargs -0."
        ),
    ] = False,
    show: Annotated[
        bool,
        typer.Option("--show", rich_help_panel=_FILES, help="Draw the images in the terminal (needs textual-image)."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", rich_help_panel=_FILES, help="Write a page of thumbnails of the hits."),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            "--copy-to",
            metavar="FOLDER",
            rich_help_panel=_FILES,
            help="Copy the files of the hits into this folder, without overwriting any.",
        ),
    ] = None,
    open_: Annotated[
        bool,
        typer.Option("--open", rich_help_panel=_FILES, help="Open the best hit, or the page of --html, in its viewer."),
    ] = False,
    prototypes: Annotated[
        Path | None,
        typer.Option(
            "--prototypes",
            "-p",
            metavar="INDEX",
            rich_help_panel=REFINING,
            help="With --explain: name the classes of this prototype index that are nearest to each hit.",
        ),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="NAME", rich_help_panel=_SAVED, help="Keep this search with the gallery."),
    ] = None,
    saved: Annotated[
        str | None,
        typer.Option(
            "--saved",
            metavar="NAME",
            rich_help_panel=_SAVED,
            help="Run a saved search again; options given with it count instead of the saved ones.",
        ),
    ] = None,
    query_cache: Annotated[
        bool,
        typer.Option(
            "--query-cache/--no-query-cache",
            rich_help_panel=options.ADVANCED,
            help="Keep the vectors of queries, to use them again.",
        ),
    ] = True,
    model: options.ModelOfIndex = None,
    fp16_index: options.Fp16Index = False,
) -> None:
    """Search a gallery of images or texts with words, images or both.

    A query image that is in the gallery is excluded from the results; among texts, so are the terms of "king - man +
    woman". id:42 is the image with that ID. If nothing seems to match, a line says so.

    Example: zsretrieve search indexes/pictures a dog on a beach
    """
    import zsretrieve as zs

    asked = _queries(words or [], query or [], queries)
    if not asked and saved is None and not given.keys() & {"more", "less", "minus", "order"}:
        raise typer.BadParameter(
            "there is none: write words or the path of an image after GALLERY, or give --queries FILE, --more ID or "
            "--saved NAME",
            param_hint="QUERY",
        )
    if saved is not None and (asked or save is not None):
        raise typer.BadParameter("it has its own query; leave the other out", param_hint="--saved")
    if save is not None and len(asked) > 1:
        raise typer.BadParameter("only one query can be saved under a name", param_hint="--save")
    if "explain" in given and form is OutputFormat.CSV:
        raise typer.BadParameter("explanations do not fit into CSV; use json or jsonl", param_hint="--format")
    if (paths or null) and form is not OutputFormat.TABLE:
        raise typer.BadParameter("it prints the paths already", param_hint="--format")
    if html is not None:
        zs.check_contact_sheet(html)
    if copy_to is not None and copy_to.is_file():
        raise typer.BadParameter(f"'{copy_to}' is a file, and copies go to a folder", param_hint="--copy-to")
    image = views.terminal_image() if show else None
    for name, is_given in (("--copy-to", copy_to is not None), ("--show", show), ("--open", open_ and html is None)):
        if is_given and not build and zs.read_manifest(gallery).holds_texts:
            raise UsageError(f"{name} is for images, and '{gallery}' holds texts", hint=f"Leave {name} out.")
    with output.progress() as on_stage:
        loaded = zs.Model(model, compute, on_stage=on_stage)
        folder = zs.gallery_of(gallery, loaded, on_stage=on_stage) if build else gallery
        to_find: Sequence[Any] = asked or [None]
        wanted, typed = zs.Wanted(**given), ""
        if saved is not None:
            kept = zs.saved_search(folder, saved)
            to_find, wanted, typed = [kept.query], replace(kept.wanted, **given), kept.query.text
        answers = zs.search_all(
            folder, to_find, loaded, wanted, prototypes=prototypes, cached=query_cache, half=fp16_index
        )
    titles = asked or [typed or views.title(answers[0], wanted)]
    if save is not None:
        zs.save_search(folder, save, to_find[0], wanted)
        output.note(f"saved: zsretrieve search {shlex.quote(str(folder))} --saved {shlex.quote(save)}")
    if missing := {hit.path for found in answers for hit in found if hit.missing}:
        output.note(f"{counted(len(missing), 'missing file')} among the hits. {_about_missing(folder)}")
    hits = [hit for found in answers for hit in found]
    if zs.read_manifest(folder).space.model == "demo":
        _note_unknown(titles, answers)
    if paths or null:
        views.write_paths(hits, "\0" if null else "\n")
    elif form is not OutputFormat.TABLE:
        answered = zip(titles, answers, strict=True)
        output.write_rows([row for text, found in answered for row in views.rows(text, found)], form)
    else:
        for text, found in zip(titles, answers, strict=True):
            views.show(text, found, given.get("k"), wanted)
    if paths or null or form is not OutputFormat.TABLE:
        for line in filter(None, map(views.no_match, answers)):
            output.note(line)
        for line in filter(None, {*map(views.approximate, answers)}):
            output.note(line)
    if show:
        views.show_images(hits, image)
    if build:
        output.note(f"the gallery is {folder}; search it with: zsretrieve search {shlex.quote(str(folder))} QUERY")
        every = f"list them with: zsretrieve index sync {shlex.quote(str(folder))} --skipped FILE"
        output.note_skipped(zs.read_manifest(folder).skipped, every)
    best = [hit.path for hit in hits[:1]]
    if copy_to is not None:
        best = [str(copy) for copy in views.copy(hits, copy_to)[:1]] or best
    if html is not None:
        remarks = [(text, views.no_match(found)) for text, found in zip(titles, answers, strict=True)]
        zs.write_contact_sheet(
            html,
            dict(zip(titles, answers, strict=True)),
            zs.Reading(wanted.exif is not False),
            heading=f"Search in {folder}",
            notes={text: remark for text, remark in remarks if remark is not None},
        )
        output.note(f"{counted(len(hits), 'image')} -> {html}")
        best = [str(html)]
    for file in best if open_ else ():
        views.open_file(file)


def _note_unknown(titles: Sequence[str], answers: Sequence[Hits]) -> None:
    """Say that the bundled model knows no word of a query, since it ranks images all the same."""
    from zsretrieve.demo import words

    unknown = [
        title
        for title, found in zip(titles, answers, strict=True)
        if found.query and words.unknown(str(term.value) for term in found.query.terms if term.is_text)
    ]
    if unknown:
        output.note(
            f"the model demo knows coloured shapes, such as 'a red star', and no word of {shorten(unknown, 3)}; "
            "images encoded with another model can be searched for anything"
        )


def _about_missing(gallery: str | Path) -> str:
    """What to do about files of a gallery that are missing."""
    import zsretrieve as zs

    place = shlex.quote(str(gallery))
    gone = [shlex.quote(source.source) for source in zs.gallery_sources(gallery) if source.missing]
    if not gone:
        return f"To follow files that were renamed or deleted, run: zsretrieve index sync {place}"
    return (
        f"If {gone[0]} was moved, run: zsretrieve index relocate {place} {gone[0]} NEW; if it is gone for good: "
        f"zsretrieve index remove {place} {gone[0]}"
    )


def _queries(words: list[str], given: list[str], file: Path | None) -> list[str]:
    """All queries: the words of the command line are one, as hands type it without quotes."""
    if len(words) > 1 and not {"+", "-"} & set(words) and any(len(word.split()) > 1 for word in words):
        raise typer.BadParameter("write -q before each of several queries", param_hint="QUERY")
    queries = [" ".join(words)] if words else []
    queries += given
    if file is not None:
        queries += _lines(file)
    return queries


def _lines(file: Path) -> list[str]:
    """The lines of a file that hold anything."""
    text = sys.stdin.read() if str(file) == "-" else read_text(file, SourceError)
    lines = [line.strip() for line in lines_of(text) if line.strip()]
    if not lines:
        raise SourceError(f"'{file}' holds no query", hint="Write one query per line.")
    return lines
