"""Finding texts: captions, words, descriptions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from zsretrieve.api.indexes import is_index, open_gallery
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.records import PathLike
from zsretrieve.images import sources
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.store.indexes import Gallery
from zsretrieve.texts import opening as _opening
from zsretrieve.texts.records import Wanted


def open_texts(
    source: PathLike,
    *,
    column: str | None = None,
    image_column: str | None = None,
    split: str | None = None,
    standard_input: Iterable[str] | None = None,
) -> Source:
    """Find texts, to build a gallery of them or to add them to one, with the image that each describes if known.

    Rows that are empty or cannot be read are in ``skipped`` of the source, with the reason.

    Parameters
    ----------
    source : path
        A file, by its suffix: ``.csv`` or ``.tsv`` with a header, ``.json``, ``.jsonl``, ``.parquet``, shards of
        WebDataset (``.tar``); any other is read line by line, and so is ``-``, standard input. Of ``.json`` these forms
        are known: a list of objects or texts, the Karpathy splits of COCO and Flickr30k, and the annotations of COCO.
        ``{0000..0012}`` and ``{a,b}`` in a name stand for several files. Or a gallery of texts.
    column, image_column : str, optional
        The names of the columns that hold texts and paths of images, by default those of usual names.
    split : str, optional
        Only rows of this split, as a column ``split`` names it.
    standard_input : iterable of str, optional
        The lines for ``-``; by default those of this process.

    Raises
    ------
    SourceError
        If there is no such file, it holds no text, or it is not clear which column does.
    UsageError
        If columns or a split are named where there are none.
    """
    name, wanted = sources.local(os.fspath(source)), Wanted(column, image_column, split)
    if name == _opening.STDIN:
        if standard_input is None:
            data = sys.stdin.buffer.read()
        else:
            data = "\n".join(line.rstrip("\r\n") for line in standard_input).encode("utf-8", "surrogateescape")
        return _opening.of_lines(data, wanted)
    if is_index(name):
        if wanted != Wanted():
            raise UsageError("a gallery of texts has no columns or splits", hint="Leave out `column` and `split`.")
        return of_gallery(open_gallery(name, device="cpu"))
    names = [name] if "{" not in name or os.path.lexists(name) else sources.expand(name)
    return _opening.open_texts(names, wanted)


def of_gallery(gallery: Gallery) -> Source:
    """The texts of a gallery, to be encoded again. Raises SourceError if it is of images, or empty."""
    if not gallery.manifest.holds_texts:
        raise SourceError(
            f"'{gallery.folder}' is a gallery of images, not of texts",
            hint="Build one with: zsretrieve index texts SOURCE OUT",
        )
    if not gallery.items:
        raise SourceError(f"'{gallery.folder}' is empty", hint="Add texts: zsretrieve index add GALLERY SOURCE")
    files = tuple(map(SourceFile.of, gallery.items))
    return Source(gallery.manifest.root or "", files, gallery.manifest.skipped, next_id=gallery.manifest.next_id)
