"""Recognising the format of vectors."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.domain.errors import SourceError
from zsretrieve.exchange import clip_retrieval, parquet, plain
from zsretrieve.exchange.foreign import ForeignVectors
from zsretrieve.store.indexes import is_index


def open_vectors(where: Path, paths: Path | None = None, labels: Path | None = None) -> ForeignVectors:
    """See ``api.exchange.open_vectors``."""
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
    if where.is_file() and (plain.is_npy(where) or plain.is_faiss(where)):
        if paths is None:
            raise SourceError(
                f"'{where}' holds vectors without the paths of their images",
                hint="Give a text file with one path per line as `paths`.",
            )
        return plain.open_vectors(where, paths, labels)
    for given, option in ((paths, "`paths`"), (labels, "`labels`")):
        if given is not None:
            raise SourceError(
                f"{option} goes with vectors in a .npy or FAISS file, not with '{where}'", hint="Leave it out."
            )
    if where.is_dir() and clip_retrieval.is_folder_of_parts(where):
        return clip_retrieval.open_vectors(where)
    if where.is_file() and parquet.is_parquet(where):
        return parquet.open_vectors(where)
    raise SourceError(
        f"'{where}' does not hold vectors in a format that can be imported",
        hint="Give a folder of clip-retrieval (img_emb/ and metadata/), a .npy file or a flat FAISS index with "
        "`paths`, or a Parquet file with the columns path and vector.",
    )
