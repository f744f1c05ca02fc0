"""How many bytes an approximate index takes, by the name of its kind: what the files of FAISS hold, counted.

Measured against files of FAISS 1.15 by a test. ``Flat`` counts the vectors themselves, which a search reads.
"""

from __future__ import annotations

from zsretrieve.domain.kind_names import KindParts, parsed

FLOAT, ID = 4, 8
# A fast scan reads the codes of a list in blocks of so many rows. Lists end anywhere, so half a block stays empty.
_BLOCK = 32
# Beside its sign bits, RaBitQ keeps two factors of a vector; with more bits three, and two for these.
_FACTORS, _FACTORS_OF_MORE_BITS = 2 * FLOAT, 5 * FLOAT


def bytes_per_vector(kind: str, dim: int) -> float:
    """The bytes that one more vector adds to an index: its code, its ID in a list, its links in a graph.

    Parameters
    ----------
    kind : str
        A name that ``kind_names.parsed`` reads.
    dim : int
        The dimensions of the vectors.

    Raises
    ------
    UsageError
        If the kind is not supported, or does not fit the dimensions.
    """
    parts = parsed(kind, dim).parts
    return code_bytes(parts) + (ID if parts.lists else 0) + _links(parts.links)


def index_bytes(kind: str, dim: int, count: int) -> int:
    """The bytes of an index of ``count`` vectors: those of each, and what they share.

    That is the centroids of the lists, codebooks, the matrix in front, and the empty places of fast scans.

    Parameters
    ----------
    kind : str
    dim : int
    count : int

    Raises
    ------
    UsageError
        As for ``bytes_per_vector``.
    """
    parts = parsed(kind, dim).parts
    lists = parts.lists or 0
    empty = lists * (_BLOCK - 1) / 2 * code_bytes(parts) if parts.is_packed else 0.0
    centroids = lists * (FLOAT * parts.kept + _links(parts.over) + ID)
    return round(bytes_per_vector(kind, dim) * count + empty + centroids + _codebook(parts) + _front(parts, dim))


def code_bytes(parts: KindParts) -> int:
    """The bytes of the code of one vector."""
    if parts.code == "PQ":
        # A fast scan takes the nibbles of two parts at once.
        return (parts.pq + 1) // 2 if parts.is_packed else -(-parts.pq * parts.bits // 8)
    if parts.code == "RaBitQ":
        more = parts.bits - 1
        signs = -(-parts.kept // 8)
        return signs + (-(-parts.kept * more // 8) + _FACTORS_OF_MORE_BITS if more else _FACTORS)
    return -(-parts.kept * parts.bits // 8)


def _links(links: int | None) -> float:
    """The bytes of a vector in a graph of HNSW: twice as many links on the ground as above, its offset and its level.

    A vector reaches the level l with probability m ** -l (Malkov and Yashunin, 1603.09320, section 4), so that it has
    1 / (m - 1) levels above the ground in the mean.
    """
    return 0.0 if links is None else FLOAT * links * (2 + 1 / (links - 1)) + 8 + FLOAT


def _codebook(parts: KindParts) -> int:
    if parts.code == "PQ":
        return FLOAT * parts.kept << parts.bits
    return 2 * FLOAT * parts.kept if parts.code == "SQ" and parts.bits < 16 else 0


def _front(parts: KindParts, dim: int) -> int:
    """The bytes of the matrix that turns vectors; of a PCA also those of all directions, and their mean."""
    if parts.front is None:
        return 0
    return FLOAT * dim * (parts.kept + (dim + 2 if parts.front == "PCA" else 0))
