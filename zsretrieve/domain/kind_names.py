"""The names of the approximate index kinds that galleries may have: a part of FAISS's factory strings.

FAISS reads many more. Some of those ignore filters, and some numbers end the process, so every name is checked here
before FAISS sees it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from zsretrieve.domain.errors import UsageError

SUPPORTED = (
    "Use Flat, auto, HNSWm (m from 4), SQ8 (fp16, bf16, 8, 6, 4), RaBitQ (1 to 9), or IVFn, followed by Flat, SQ8, "
    "PQMx4fsr (or x4fs, x4 to x8) or RaBitQfs; RRd, PCAd or OPQm may be in front (docs/index-kinds.md)."
)
# Below that, FAISS warns that centroids are not worth much.
ROWS_PER_LIST = 39

_NAME = re.compile(
    r"""
    ((?P<front>RR|PCA)(?P<turned>\d+),|OPQ(?P<opq>\d+)(_(?P<kept>\d+))?,)?
    (IVF(?P<lists>\d+)(_HNSW(?P<over>\d+))?,|HNSW(?P<links>\d+)(,(?=Flat|SQ)|$))?
    (?P<code>Flat|SQ(?P<sq>fp16|bf16|8|6|4)|PQ(?P<pq>\d+)(x(?P<bits>[4-8])|(?P<fast>x4fsr?))?|
    RaBitQ(?P<packed>fs)?(?P<rabitq>[1-9])?)?
    """,
    re.VERBOSE | re.ASCII,
)
_LARGEST = 10_000_000
_LINKS = range(4, 513)
_BITS_OF_SQ = {"fp16": 16, "bf16": 16}
# The codes that turn vectors for product quantisation are trained with this many centroids.
_CENTROIDS_OF_OPQ = 256


@dataclass(frozen=True)
class KindParts:
    """The parts of a kind's name.

    ``front`` is RR, PCA, OPQ or None, and ``kept`` how many dimensions the codes have. ``lists`` are those of IVF,
    ``over`` the links of a graph that finds them, ``links`` those of a graph over the vectors. ``code`` is Flat, SQ, PQ
    or RaBitQ, with ``bits`` for each dimension, of PQ for each of its ``pq`` parts; ``is_packed`` for fast scans.
    """

    front: str | None
    kept: int
    lists: int | None
    over: int | None
    links: int | None
    code: str
    bits: int
    pq: int
    is_packed: bool


@dataclass(frozen=True)
class KindName:
    """What the name of a kind says.

    ``least`` is how many images it needs. ``is_coarse`` is whether its codes are so short that many candidates must be
    compared: less than one bit for a dimension, or one that is not trained. ``lists`` is None if it has none.
    """

    least: int
    is_coarse: bool
    parts: KindParts


def usual_lists(count: int) -> int:
    """About twice the square root of so many vectors: a power of two."""
    return int(2 ** round(math.log2(2 * math.sqrt(count))))


def parsed(kind: str, dim: int) -> KindName:
    """Read the name of an approximate kind for vectors of ``dim`` dimensions. Raises UsageError."""
    found = _NAME.fullmatch(kind)
    if found is None:
        raise UsageError(f"the index kind '{kind}' is not supported", hint=SUPPORTED)
    numbers = {key: int(text) for key, text in found.groupdict().items() if text is not None and text.isdecimal()}
    code, lists, pq, opq = found["code"], numbers.get("lists"), numbers.get("pq"), numbers.get("opq")
    if (
        (code is None and "links" not in numbers)
        or (lists is None and (pq is not None or found["packed"]))
        or not all(0 < number <= _LARGEST for number in numbers.values())
        or any(numbers.get(graph, 4) not in _LINKS for graph in ("links", "over"))
    ):
        raise UsageError(f"the index kind '{kind}' is not supported", hint=SUPPORTED)
    kept = numbers.get("turned") or numbers.get("kept") or dim
    if kept > dim or (pq and kept % pq) or (opq and kept % opq):
        raise UsageError(
            f"the index kind '{kind}' does not fit vectors of {dim} dimensions",
            hint=f"The parts of PQ and OPQ must divide the dimensions; RR and PCA keep at most {dim} of them.",
        )
    code, bits = _code(found)
    if pq:
        least, per_dim = 1 << bits, pq * bits / dim
    else:
        least, per_dim = 1, bits * kept / dim
    least = max(least, ROWS_PER_LIST * (lists or 0), _CENTROIDS_OF_OPQ if opq else 1)
    parts = KindParts(
        "OPQ" if opq else found["front"], kept, lists, numbers.get("over"), numbers.get("links"), code, bits, pq or 0,
        bool(found["fast"] or found["packed"]),
    )  # fmt: skip
    return KindName(least, per_dim < 1 or (code == "RaBitQ" and per_dim <= 1), parts)


def _code(found: re.Match[str]) -> tuple[str, int]:
    """The family of a kind's codes, and the bits for each dimension, or for each part of a product quantiser."""
    if found["sq"]:
        return "SQ", _BITS_OF_SQ.get(found["sq"]) or int(found["sq"])
    if found["pq"]:
        return "PQ", 4 if found["fast"] else int(found["bits"] or 8)
    if (found["code"] or "").startswith("RaBitQ"):
        return "RaBitQ", int(found["rabitq"] or 1)
    return "Flat", 32
