"""Finding pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from zsretrieve import addresses, archives, sources
from zsretrieve.api.opening import PathLike, is_index, open_gallery
from zsretrieve.archives import Kind
from zsretrieve.archives.places import bare
from zsretrieve.errors import SourceError
from zsretrieve.images import is_image_name
from zsretrieve.sources import Source


def open_source(
    where: Sequence[PathLike], *, ground_truth: PathLike | None = None, standard_input: Iterable[str] | None = None
) -> Source:
    """Find pictures: one folder, one list of paths, several files, or archives.

    Parameters
    ----------
    where : sequence of path
        A folder; ``@FILE`` or ``-`` for a list of paths in a file or on standard input; picture files; tar, zip or
        Parquet files; ``hf:PATH_OR_NAME[@CONFIG][:SPLIT]``, a data set; the URL of any of these but the last; or a
        gallery, whose pictures are then read again. ``{0000..0012}`` and ``{a,b}`` in a name stand for several.
    ground_truth : path, optional
        Labels for a folder, or a tar or zip file, see ``zsretrieve.sources.read_ground_truth``.
    standard_input : iterable of str, optional
        The lines for ``-``.

    Raises
    ------
    SourceError
        If nothing can be found there.
    OptionalDependencyError
        If a package for such a source is not installed.
    """
    names = [name for given in where for name in _expanded(sources.local(os.fspath(given)))]
    one = names[0] if len(names) == 1 else None
    truth = Path(ground_truth) if ground_truth is not None else None
    if truth is not None and not (one is not None and (os.path.isdir(one) or sources.takes_ground_truth(one))):
        raise SourceError(
            "a ground truth goes with one folder of images", hint="Give the folder, or a tar or zip file."
        )
    if one is not None and is_index(one):
        if truth is not None:
            raise SourceError(
                "the pictures of a gallery keep the labels they were given", hint="Give the folder of images instead."
            )
        gallery = open_gallery(one, device="cpu")
        return sources.of_gallery(
            gallery.items, gallery.manifest.skipped, gallery.manifest.root, gallery.manifest.next_id
        )
    if one == "-":
        return sources.read_list(standard_input or ())
    if one is not None and one.startswith("@"):
        try:
            with open(one[1:], encoding="utf-8-sig", errors="surrogateescape") as lines:
                return sources.read_list(lines)
        except OSError as error:
            raise SourceError(
                f"the list '{one[1:]}' cannot be read: {error.strerror}", hint="Check the path."
            ) from error
    kinds = [_kind(name) for name in names]
    if one is not None and kinds[0] is Kind.DATASET and addresses.split(one) is None:
        return sources.data_set(one)
    if names and all(kinds) and Kind.DATASET not in kinds:
        return sources.archived(names, truth)
    if one is not None and not _is_file(one):
        return sources.remote_folder(one) if addresses.is_url(one) else sources.folder(one, truth)
    for name, kind in zip(names, kinds, strict=True):
        if os.path.isdir(name):
            raise SourceError(f"'{name}' is one folder of several sources", hint="Give one folder, or files only.")
        if kind is not None and addresses.split(name) is None:
            raise SourceError(f"'{name}' is one archive of several sources", hint="Give archives only, or files only.")
        if one is not None and not is_image_name(one) and addresses.split(one) is None:
            raise SourceError(f"'{name}' is not named like an image", hint="A list of paths is given as @FILE.")
        if not _is_file(name) and not os.path.exists(name):
            raise SourceError(f"there is no file '{name}'", hint="Check the path.")
    return sources.paths(names)


def _expanded(name: str) -> list[str]:
    """The names that braces stand for, unless there is a file of that very name."""
    if "{" not in name or name.startswith("@") or os.path.lexists(name):
        return [name]
    return sources.expand(name)


def _kind(name: str) -> Kind | None:
    """The kind of archive; a folder or a picture may be named like one."""
    kind = archives.kind_of(name)
    other = os.path.isdir(name) or (kind is Kind.DATASET and os.path.exists(name))
    return None if other else kind


def _is_file(name: str) -> bool:
    """Whether a name speaks of one picture rather than a folder: a file, a member of an archive, or such a URL."""
    if addresses.is_url(name):
        return is_image_name(bare(name)) or addresses.split(name) is not None
    return os.path.isfile(name) or addresses.split(name) is not None
