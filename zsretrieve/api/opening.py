"""Opening indexes and sources."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from zsretrieve import sources, wiring
from zsretrieve.errors import SourceError
from zsretrieve.images import is_image_name
from zsretrieve.ports import IndexBackend
from zsretrieve.sources import Source
from zsretrieve.store import indexes
from zsretrieve.store import verify as _verify
from zsretrieve.store.indexes import Gallery, Prototypes

PathLike = str | os.PathLike[str]


def open_prototypes(folder: PathLike, *, device: str = "auto", half: bool = False) -> Prototypes:
    """Open a prototype index; ``half`` keeps a GPU's copy in float16, and results stay exact.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_prototypes(os.fspath(folder), wiring.index_backend(device, half=half))


def open_gallery(folder: PathLike, *, device: str = "auto", half: bool = False) -> Gallery:
    """Open a gallery index; ``half`` keeps a GPU's copy in float16, and results stay exact.

    Raises IndexFormatError or IntegrityError if it is not sound.
    """
    return indexes.open_gallery(os.fspath(folder), wiring.index_backend(device, half=half))


def is_index(folder: PathLike) -> bool:
    """Whether a folder is an index rather than a folder of images."""
    return indexes.is_index(os.fspath(folder))


def verify(folder: PathLike) -> list[str]:
    """Check every digest, count, norm and id of an index; the list of problems is empty when it is sound."""
    return [damage.message for damage in _verify.verify(Path(folder), cpu_backend()).damages]


def open_source(
    where: Sequence[PathLike], *, ground_truth: PathLike | None = None, standard_input: Iterable[str] | None = None
) -> Source:
    """Find pictures: one folder, one list of paths, or several files.

    Parameters
    ----------
    where : sequence of path
        A folder; ``@FILE`` or ``-`` for a list of paths in a file or on standard input; picture files; or a gallery,
        whose pictures are then read again.
    ground_truth : path, optional
        Labels for a folder, see ``zsretrieve.sources.read_ground_truth``.
    standard_input : iterable of str, optional
        The lines for ``-``.

    Raises
    ------
    SourceError
        If nothing can be found there.
    """
    names = [os.fspath(name) for name in where]
    if ground_truth is not None and not (len(names) == 1 and os.path.isdir(names[0])):
        raise SourceError("a ground truth goes with one folder of images", hint="Give the folder.")
    if len(names) == 1 and is_index(names[0]):
        if ground_truth is not None:
            raise SourceError(
                "the pictures of a gallery keep the labels they were given", hint="Give the folder of images instead."
            )
        gallery = open_gallery(names[0], device="cpu")
        return sources.of_gallery(gallery.items, gallery.manifest.skipped, gallery.manifest.root)
    if len(names) == 1 and names[0] == "-":
        return sources.read_list(standard_input or ())
    if len(names) == 1 and names[0].startswith("@"):
        try:
            with open(names[0][1:], encoding="utf-8-sig", errors="surrogateescape") as lines:
                return sources.read_list(lines)
        except OSError as error:
            raise SourceError(
                f"the list '{names[0][1:]}' cannot be read: {error.strerror}", hint="Check the path."
            ) from error
    if len(names) == 1 and not os.path.isfile(names[0]):
        return sources.folder(names[0], Path(ground_truth) if ground_truth is not None else None)
    for name in names:
        if os.path.isdir(name):
            raise SourceError(f"'{name}' is one folder of several sources", hint="Give one folder, or files only.")
        if len(names) == 1 and not is_image_name(name):
            raise SourceError(f"'{name}' is not named like an image", hint="A list of paths is given as @FILE.")
        if not os.path.exists(name):
            raise SourceError(f"there is no file '{name}'", hint="Check the path.")
    return sources.paths(names)


def cpu_backend() -> IndexBackend:
    """What writes indexes: they are saved in their CPU form."""
    return wiring.index_backend("cpu")
