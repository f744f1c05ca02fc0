"""Recognising what somebody's vectors lie in."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.errors import SourceError
from zsretrieve.exchange import clip_retrieval, parquet, plain
from zsretrieve.exchange.foreign import ForeignVectors
from zsretrieve.store.indexes import is_index


def open_vectors(where: Path, paths: Path | None = None, labels: Path | None = None) -> ForeignVectors:
    """Open vectors of any kind that is known.

    Parameters
    ----------
    where : Path
        A folder of clip-retrieval, a ``.npy`` file, a folder with ``vectors.npy`` and ``paths.txt``, or Parquet.
    paths, labels : Path, optional
        Lists with one entry a line, for ``.npy``; in a folder, by default, the lists that lie there.

    Raises
    ------
    SourceError
        If it is none of them, or cannot be read.
    """
    if not where.exists():
        raise SourceError(f"there is no file or folder '{where}'", hint="Check the path.")
    if is_index(where):
        raise SourceError(f"'{where}' is an index already", hint="It can be used as it is.")
    if where.is_dir() and plain.is_export(where):
        ids, own_labels = where / plain.IDS, where / plain.LABELS
        return plain.open_vectors(
            where / plain.VECTORS,
            paths or where / plain.PATHS,
            labels or (own_labels if own_labels.is_file() else None),
            ids if ids.is_file() else None,
        )
    if where.is_file() and plain.is_npy(where):
        if paths is None:
            raise SourceError(
                f"'{where}' holds vectors without the paths of their images",
                hint="Give a text file with one path a line: --paths FILE",
            )
        return plain.open_vectors(where, paths, labels)
    for given, option in ((paths, "--paths"), (labels, "--labels")):
        if given is not None:
            raise SourceError(f"{option} goes with vectors in a .npy file, not with '{where}'", hint="Leave it out.")
    if where.is_dir() and clip_retrieval.is_folder_of_parts(where):
        return clip_retrieval.open_vectors(where)
    if where.is_file() and parquet.is_parquet(where):
        return parquet.open_vectors(where)
    raise SourceError(
        f"'{where}' is none of the kinds of vectors that can be imported",
        hint="Give a folder of clip-retrieval (img_emb/ and metadata/), a .npy file with --paths FILE, or a Parquet "
        "file with the columns path and vector.",
    )
