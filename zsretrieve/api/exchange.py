"""Other people's formats: importing vectors, exporting indexes."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.api.opening import PathLike, cpu_backend, open_gallery, open_prototypes
from zsretrieve.exchange import opening
from zsretrieve.exchange.foreign import ForeignVectors, Form
from zsretrieve.ports import Encoder
from zsretrieve.records import IndexKind
from zsretrieve.store import manifest as passport
from zsretrieve.verbs import exchange as _exchange
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.gallery import BuiltGallery


def open_vectors(source: PathLike, *, paths: PathLike | None = None, labels: PathLike | None = None) -> ForeignVectors:
    """Open vectors that were computed elsewhere. See ``zsretrieve.exchange.opening``.

    Parameters
    ----------
    source : path
        A folder of clip-retrieval, a ``.npy`` file, an export of ours, or Parquet.
    paths, labels : path, optional
        Lists with one entry a line, for ``.npy``.

    Raises
    ------
    SourceError
        If it is none of them, or cannot be read.
    """
    return opening.open_vectors(Path(source), _path(paths), _path(labels))


def import_gallery(
    source: PathLike | ForeignVectors,
    out: PathLike,
    encoder: Encoder,
    *,
    paths: PathLike | None = None,
    labels: PathLike | None = None,
    root: PathLike | None = None,
    normalise: bool = False,
    exif: bool | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> BuiltGallery:
    """Write vectors that were computed elsewhere to a gallery. See ``zsretrieve.verbs.exchange.import_gallery``."""
    found = source if isinstance(source, ForeignVectors) else open_vectors(source, paths=paths, labels=labels)
    return _exchange.import_gallery(
        Path(out), found, encoder, cpu_backend(), root=_path(root), normalise=normalise, exif=exif, force=force,
        on_progress=on_progress,
    )  # fmt: skip


def export_index(
    index: PathLike,
    out: PathLike,
    form: str,
    *,
    half: bool = False,
    force: bool = False,
    part_rows: int | None = None,
) -> int:
    """Write an index in a form that other programs read; returns the number of its vectors.

    Parameters
    ----------
    form : str
        ``clip-retrieval``, ``npy`` or ``parquet``; prototypes only as ``npy``.
    half, force, part_rows
        See ``zsretrieve.verbs.exchange.export_gallery``.
    """
    if passport.read(Path(index)).kind is IndexKind.PROTOTYPES:
        prototypes = open_prototypes(index, device="cpu")
        _exchange.export_prototypes(prototypes, Path(out), Form(form), half=half, force=force)
        return len(prototypes.vectors)
    gallery = open_gallery(index, device="cpu")
    _exchange.export_gallery(gallery, Path(out), Form(form), half=half, force=force, part_rows=part_rows)
    return len(gallery.items)


def _path(value: PathLike | None) -> Path | None:
    return None if value is None else Path(value)
