"""Importing vectors that were computed elsewhere, and exporting indexes for other programs."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.api.indexes import cpu_backend, open_gallery, open_prototypes
from zsretrieve.domain.arguments import Count
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage, progress_of
from zsretrieve.domain.records import IndexKind, PathLike
from zsretrieve.domain.settings import Form
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.exchange import opening
from zsretrieve.exchange.foreign import ForeignVectors
from zsretrieve.gallery import transfer as _transfer
from zsretrieve.gallery.build import BuiltGallery
from zsretrieve.gallery.transfer import Import
from zsretrieve.store import folder as folders
from zsretrieve.store import manifest as manifests
from zsretrieve.store.named import folder_of


def open_vectors(source: PathLike, *, paths: PathLike | None = None, labels: PathLike | None = None) -> ForeignVectors:
    """Open vectors that were computed elsewhere.

    Parameters
    ----------
    source : path
        A folder of clip-retrieval, a ``.npy`` file, a flat inner-product index of FAISS, a folder with ``vectors.npy``
        and ``paths.txt``, or Parquet.
    paths, labels : path, optional
        Lists with one entry per line, for ``.npy`` and FAISS; by default those in the folder.

    Raises
    ------
    SourceError
        If the format is unknown, or the vectors cannot be read.
    """
    return opening.open_vectors(Path(source), _path(paths), _path(labels))


def import_gallery(
    source: PathLike | ForeignVectors,
    out: PathLike,
    model: ModelLike,
    *,
    paths: PathLike | None = None,
    labels: PathLike | None = None,
    root: PathLike | None = None,
    normalise: bool = False,
    exif: bool | None = None,
    force: bool = False,
    on_stage: OnStage | None = None,
) -> BuiltGallery:
    """Write vectors that were computed elsewhere to a gallery in the folder ``out``.

    A vector that is zero or not finite is skipped, and its ID stays unused.

    Parameters
    ----------
    source, paths, labels
        See ``open_vectors``.
    out : path
    model : Model, Encoder or str
        The model that computed the vectors. Only the manifest of an export shows whether that is true; otherwise only
        the dimensions are compared.
    root : path, optional
        What the paths are relative to; by default the current folder, or as in the export.
    normalise : bool
        Scale vectors to unit length.
    exif : bool, optional
        Whether images were turned upright by their EXIF orientation; by default as in the export, or yes.
    force : bool
        Replace an existing index.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    SpaceMismatchError
        If the vectors are of another embedding space than the model's, as far as that is known.
    SourceError
        If a vector is not a unit vector, unless ``normalise``, or none can be used.
    OutputExistsError
        If ``out`` holds something already, unless it is an index and ``force`` is given.
    """
    vectors = source if isinstance(source, ForeignVectors) else open_vectors(source, paths=paths, labels=labels)
    folders.check_output(folder_of(out), force=force)
    how = Import(_path(root), normalise, exif, force, progress_of(on_stage, "writing vectors"))
    return _transfer.import_gallery(folder_of(out), vectors, as_model(model).load(), cpu_backend(), how)


def export_index(
    index: PathLike,
    out: PathLike,
    form: str,
    *,
    half: bool = False,
    force: bool = False,
    part_rows: Count | None = None,
) -> int:
    """Export an index for other programs; returns the number of its vectors.

    Parameters
    ----------
    out : path
        A folder, or for Parquet a file.
    form : str
        ``clip-retrieval``, ``npy``, ``parquet``, or for a vector database ``milvus``, ``lancedb`` or ``qdrant``;
        prototypes only as ``npy``, and galleries of texts only as ``parquet``.
    half : bool
        Write float16, as clip-retrieval's form always does; not for Milvus.
    force : bool
        Replace an export of the same form.
    part_rows : int, optional
        Images per file, in the forms of clip-retrieval and of databases.

    Raises
    ------
    UsageError
        If ``form`` is unknown, or cannot be written in float16.
    OutputExistsError
        If ``out`` holds something else, or something and ``force`` is not given.
    SourceError
        If a path or label does not fit into the form.
    IndexFolderError
        If the system refuses to write.
    """
    try:
        form = Form(form)
    except ValueError:
        raise UsageError(f"'{form}' is not a form of vectors", hint=f"Use {', '.join(Form)}.") from None
    if half and form is Form.MILVUS:
        raise UsageError(
            "Milvus imports these vectors as float32 only",
            hint="Export them in float32; an index of Milvus can halve them.",
        )
    if manifests.read(folder_of(index)).kind is IndexKind.PROTOTYPES:
        prototypes = open_prototypes(index, device="cpu")
        _transfer.export_prototypes(prototypes, Path(out), form, half=half, force=force)
        return len(prototypes.vectors)
    gallery = open_gallery(index, device="cpu")
    if gallery.manifest.holds_texts and form is not Form.PARQUET:
        raise UsageError(f"a gallery of texts cannot be exported as {form}", hint="Export it with `form` parquet.")
    _transfer.export_gallery(gallery, Path(out), form, half=half, force=force, part_rows=part_rows)
    return len(gallery.items)


def _path(value: PathLike | None) -> Path | None:
    return None if value is None else Path(value)
