"""Finding images."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.api.indexes import is_index, open_gallery
from zsretrieve.domain.errors import SkippedInputError, SourceError, UsageError
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import Choice, Compute, Engine, Precision, Reading
from zsretrieve.domain.wording import shorten
from zsretrieve.images import archives, opening, sources
from zsretrieve.images.addresses import MEMBER, bare
from zsretrieve.images.archives import Kind
from zsretrieve.images.content import is_image_name
from zsretrieve.images.sources import EXCLUDED, Source
from zsretrieve.store.indexes import Gallery

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("zsretrieve")

# What can be given for images: a path, several, or what ``open_source`` found.
SourceLike = PathLike | Sequence[PathLike] | Source


def as_source(source: SourceLike, ground_truth: PathLike | None = None, choice: Choice | None = None) -> Source:
    """The source that is meant: itself, or what ``open_source`` finds."""
    if not isinstance(source, Source):
        return _opened(source, ground_truth, choice or Choice())
    if ground_truth is not None:
        raise SourceError("a ground truth goes with a folder", hint="Give it to open_source.")
    return source if choice is None else _without_excluded(source, source.choice.joined(choice))


def open_source(
    source: PathLike | Sequence[PathLike],
    *,
    ground_truth: PathLike | None = None,
    standard_input: Iterable[str] | None = None,
    null: bool = False,
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
) -> Source:
    """Find images: one folder, one list of paths, several files, or archives.

    Parameters
    ----------
    source : path or sequence of path
        A folder; ``@FILE`` or ``-`` for a list of paths in a file or on standard input, one per line or each with a NUL
        at its end; image files; tar, zip or
        Parquet files; ``hf:PATH_OR_NAME[@CONFIG][:SPLIT]``, a data set; the URL of any of these but the last; or a
        gallery, whose images are then read again. ``{0000..0012}`` and ``{a,b}`` in a name stand for several.
    ground_truth : path, optional
        Labels for a folder, or a tar or zip file, see ``zsretrieve.images.sources.read_ground_truth``.
    standard_input : iterable of str, optional
        The lines for ``-``; by default those of this process.
    null : bool
        Each path of the list has a NUL at its end, which is recognised otherwise too, if there is a NUL.
    exclude, include : sequence of str
        Globs of files and folders to leave out, and to take although they would be left out, see
        ``zsretrieve.domain.settings.Choice``.

    Raises
    ------
    UsageError
        If ``null`` is given for something else than a list.
    SourceError
        If nothing can be found there.
    OptionalDependencyError
        If a package for such a source is not installed.
    """
    return _opened(source, ground_truth, Choice.of(exclude, include), standard_input, null=null)


def _opened(
    source: PathLike | Sequence[PathLike],
    ground_truth: PathLike | None,
    choice: Choice,
    standard_input: Iterable[str] | None = None,
    *,
    null: bool = False,
) -> Source:
    """See ``open_source``. What is left out is noted in one line."""
    found = _without_excluded(_find(source, ground_truth, choice, standard_input, null=null), choice)
    noted = [str(one) for one in found.left_out if one.reason is not None]
    if noted:
        _log.info(f"left out of '{found.origin or found.root}': {shorten(noted, 6, '')}")
    return found


def _without_excluded(source: Source, choice: Choice) -> Source:
    """A source without the files that are excluded; a folder has left them out already."""
    if not choice.exclude:
        return replace(source, choice=choice)
    files, counts = [], Counter[tuple[str, str | None]]()
    for file in source.files:
        name = file.path.rpartition(MEMBER)[2]
        if choice.excludes_below(name):
            counts[os.path.splitext(name)[1].lower(), EXCLUDED] += 1
        else:
            files.append(file)
    if source.files and not files:
        raise SourceError(f"`exclude` leaves no image of '{source.origin or source.root}'", hint="Exclude less.")
    left_out = (*source.left_out, *sources.left_out(counts))
    return replace(source, files=tuple(files), choice=choice, left_out=left_out)


def _find(
    source: PathLike | Sequence[PathLike],
    ground_truth: PathLike | None,
    choice: Choice,
    standard_input: Iterable[str] | None,
    *,
    null: bool,
) -> Source:
    paths = [source] if isinstance(source, str | os.PathLike) else source
    names = [sources.on_disk(name) for given in paths for name in _expanded(sources.local(os.fspath(given)))]
    one = names[0] if len(names) == 1 else None
    truth = Path(ground_truth) if ground_truth is not None else None
    if truth is not None and not (one is not None and (os.path.isdir(one) or sources.takes_ground_truth(one))):
        raise SourceError(
            "a ground truth goes with one folder of images", hint="Give the folder, or a tar or zip file."
        )
    if null and not (one is not None and (one == "-" or one.startswith("@"))):
        raise UsageError("`null` goes with a list of paths", hint="Give the list as @FILE, or as - for stdin.")
    if one is not None and is_index(one):
        if truth is not None:
            raise SourceError("the images of a gallery keep their labels", hint="Give the folder of images instead.")
        gallery = open_gallery(one, device="cpu")
        if gallery.manifest.holds_texts:
            raise SourceError(f"'{one}' is a gallery of texts, not of images", hint="Read it with open_texts.")
        return sources.of_gallery(
            gallery.items, gallery.manifest.skipped, gallery.manifest.root, gallery.manifest.next_id
        )
    if one == "-":
        if standard_input is None:
            return sources.read_list(sys.stdin.buffer.read(), "-", null=null)
        return sources.read_list(os.fsencode("\n".join(line.rstrip("\r\n") for line in standard_input)), "-", null=null)
    if one is not None and one.startswith("@"):
        try:
            return sources.read_list(Path(sources.on_disk(one[1:])).read_bytes(), one[1:], null=null)
        except OSError as error:
            raise SourceError(
                f"the list '{one[1:]}' cannot be read: {error.strerror}", hint="Check the path."
            ) from error
    kinds = [_kind(name) for name in names]
    if one is not None and kinds[0] is Kind.DATASET and opening.split(one) is None:
        return sources.data_set(one)
    if names and all(kinds) and Kind.DATASET not in kinds:
        return sources.archived(names, truth)
    if one is not None and not _is_file(one):
        return sources.remote_folder(one) if opening.is_url(one) else sources.folder(one, truth, choice)
    for name, kind in zip(names, kinds, strict=True):
        if os.path.isdir(name):
            raise SourceError(
                f"several sources were given, and '{name}' is a folder",
                hint="Give one folder, or any number of image files.",
            )
        if kind is not None and opening.split(name) is None:
            raise SourceError(
                f"several sources were given, and only '{name}' is an archive",
                hint="Give archives only, or image files only.",
            )
        if one is not None and not is_image_name(one) and opening.split(one) is None:
            raise SourceError(f"'{name}' has no image file extension", hint="To give a list of paths, write @FILE.")
        if not _is_file(name) and not os.path.exists(name):
            raise SourceError(f"there is no file '{name}'", hint="Check the path.")
    return sources.paths(names)


def read_image(address: PathLike, reading: Reading | None = None) -> Image.Image:
    """The image that a hit names, as it is encoded: a path, a URL, or an image in an archive.

    Raises ImageError, with the reason alone, if it cannot be read.
    """
    from zsretrieve.images.decoding import decode

    return decode(opening.read(os.fspath(address)), reading or Reading()).image


def source_or_gallery(
    source: SourceLike | Gallery,
    reading: Reading,
    *,
    ground_truth: PathLike | None = None,
    where: str | None = None,
    device: str = "auto",
    half: bool = False,
) -> Source | Gallery:
    """The gallery at a path, opened with ``device`` and ``half`` (see ``open_gallery``), or else the source there.

    Raises
    ------
    UsageError
        If a gallery comes with a ground truth, or with settings that counted when it was built; or a source with a
        filter.
    SkippedInputError
        If ``reading`` is strict and images were skipped when the gallery was built.
    """
    gallery = source if isinstance(source, Gallery) else None
    if not isinstance(source, Gallery) and (name := _gallery_name(source)) is not None:
        gallery = open_gallery(name, device=device, half=half)
    if gallery is None:
        assert not isinstance(source, Gallery)
        refuse_filter(where)
        return as_source(source, ground_truth)
    if ground_truth is not None:
        raise UsageError(
            "a gallery takes its labels when it is built", hint="Build it again with a `ground_truth` and `force`."
        )
    given = {"`exif=False`": not reading.exif, "`max_pixels`": reading.max_pixels, "`fast`": reading.fast}
    for option in (option for option, value in given.items() if value):
        raise UsageError(
            f"{option} has no effect: the gallery's images are encoded already", hint=f"Leave {option} out."
        )
    refuse_skips(gallery, reading)
    return gallery


def is_gallery(source: SourceLike | Gallery) -> bool:
    """Whether ``source_or_gallery`` opens a gallery; nothing is opened."""
    return isinstance(source, Gallery) or _gallery_name(source) is not None


def _gallery_name(source: SourceLike) -> PathLike | None:
    if isinstance(source, Source):
        return None
    names = [source] if isinstance(source, str | os.PathLike) else list(source)
    return names[0] if len(names) == 1 and is_index(names[0]) else None


def refuse_compute(compute: Compute) -> None:
    """Raise UsageError if settings say how to encode, where nothing is encoded."""
    given = {
        "`precision`": compute.precision is not Precision.AUTO,
        "`engine`": compute.engine is not Engine.AUTO,
        "`batch_size`": compute.batch_size is not None,
        "`compile`": compute.compile,
    }
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(
            f"{option} has no effect: the gallery's images are encoded already", hint=f"Leave {option} out."
        )


def refuse_filter(where: str | None) -> None:
    """Raise UsageError if there is a filter, for images that are not in a gallery."""
    if where is not None:
        raise UsageError(
            "`where` works only on a gallery, not on a folder or files",
            hint="Build one with: zsretrieve index gallery SOURCE OUT",
        )


def refuse_skips(gallery: Gallery, reading: Reading) -> None:
    """Raise SkippedInputError if ``reading`` is strict and images were skipped when the gallery was built."""
    if reading.strict and gallery.manifest.skipped:
        first = gallery.manifest.skipped[0]
        raise SkippedInputError(
            f"{len(gallery.manifest.skipped)} images were skipped when the gallery was built, first '{first.path}': "
            f"{first.reason}",
            hint="Repair them and build it again, or run without `strict`.",
        )


def _expanded(name: str) -> list[str]:
    """The names that braces stand for, unless there is a file of that very name."""
    if "{" not in name or name.startswith("@") or os.path.lexists(name):
        return [name]
    return sources.expand(name)


def _kind(name: str) -> Kind | None:
    """The kind of archive; a folder or an image may be named like one."""
    kind = archives.kind_of(name)
    other = os.path.isdir(name) or (kind is Kind.DATASET and os.path.exists(name))
    return None if other else kind


def _is_file(name: str) -> bool:
    """Whether a name denotes one image rather than a folder: a file, a member of an archive, or such a URL."""
    if opening.is_url(name):
        return is_image_name(bare(name)) or opening.split(name) is not None
    return os.path.isfile(name) or opening.split(name) is not None
