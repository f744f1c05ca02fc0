"""What making and searching an index costs, counted from the name of its kind and the rates of a machine.

``docs/planning.md`` explains each term. Constants without another source were measured as it says.
"""

from __future__ import annotations

from zsretrieve.domain.kind_names import KindParts, parsed
from zsretrieve.domain.kind_sizes import FLOAT, code_bytes, index_bytes
from zsretrieve.domain.kinds import Effort
from zsretrieve.domain.making import TRIALS, sample_size
from zsretrieve.domain.rates import Rates, family, without_lists

# k-means in FAISS passes so often over its sample.
ITERATIONS = 10
# The lists of a query are longer than the mean: it is where many vectors are.
_LONGER = 1.1
# What a query takes beside: checks, and calls from Python.
_CALL_S = 7e-5
# Distances of a walk through a graph of 32 links: a * ef^b * n^c.
_STEPS, _BY_EF, _BY_COUNT, _LINKS = 13.8, 0.61, 0.16, 32
# FAISS walks like that to place a vector, and to find the list of one. Choosing links takes more distances.
_EF_OF_PLACING, _EF_OF_LISTS, _LINKING = 40, 16, 1.4


def sample_of(kind: str, dim: int, count: int) -> int:
    """How many vectors an index of a kind learns its lists from; 0 without lists."""
    lists = parsed(kind, dim).parts.lists
    return 0 if lists is None else sample_size(lists, count)


def training_seconds(kind: str, dim: int, count: int, rates: Rates) -> float:
    """Seconds of k-means: each pass compares each vector of the sample with each centroid."""
    parts = parsed(kind, dim).parts
    return ITERATIONS * sample_of(kind, dim, count) * _products(parts) / rates.products


def making_seconds(kind: str, dim: int, count: int, rates: Rates) -> float:
    """Seconds to make an index: to learn the lists, to find the list of each vector and its code, to write them, and
    without lists to try it.

    Parameters
    ----------
    kind : str
        Not Flat, for which nothing is made.
    dim, count : int
    rates : Rates
    """
    parts = parsed(kind, dim).parts
    found = count * _products(parts) / rates.products
    if parts.over is not None:
        found = count * _steps(_EF_OF_LISTS, parts.lists or 0, parts.over) / (rates.walked * rates.cores)
    if parts.links is not None:
        # While it grows, the graph is smaller by the mean of n^c.
        steps = _LINKING * _steps(_EF_OF_PLACING, count, parts.links) / (1 + _BY_COUNT)
        found += count * steps / (rates.walked * rates.cores)
    encoded = 0.0
    if parts.code != "Flat":
        name = family(parts)
        rate = rates.encoded[name]
        if parts.lists is None and parts.links is None:
            rate = rates.encoded.get(without_lists(name), rate)
            # As long as so many searches one after the other take: the two cores on which it was measured make up for
            # the rows that are left out one by one.
            found += TRIALS * count * code_bytes(parts) / rates.scanned.get(without_lists(name), rates.scanned[name])
        encoded = count * parts.kept / rate
    written = index_bytes(kind, dim, count) / rates.written
    return training_seconds(kind, dim, count, rates) + found + encoded + written


def query_seconds(kind: str, dim: int, count: int, effort: Effort, rates: Rates, *, from_disk: bool = False) -> float:
    """Seconds of one query: to find lists, to compare their codes, and to compare the candidates exactly.

    Parameters
    ----------
    kind : str
    dim, count : int
    effort : Effort
    rates : Rates
    from_disk : bool
        Whether the candidates' vectors must be read.
    """
    parts = parsed(kind, dim).parts
    exactly = _CALL_S + effort.depth / (rates.read if from_disk else rates.compared)
    if parts.links is not None:
        return _steps(effort.ef or effort.depth, count, parts.links) / rates.walked + exactly
    name = family(parts)
    codes, scanned, finding = float(count), rates.scanned[name], 0.0
    if parts.lists is None or effort.probes is None:
        scanned = rates.scanned.get(without_lists(name), scanned)
    else:
        codes = min(codes, _LONGER * count * effort.probes / parts.lists)
        if parts.over is None:
            finding = parts.lists * parts.kept * FLOAT / rates.scanned["centroids"]
        else:
            finding = _steps(max(_EF_OF_LISTS, effort.probes), parts.lists, parts.over) / rates.walked
    return finding + codes * code_bytes(parts) / scanned + exactly


def _products(parts: KindParts) -> float:
    """Operations that compare one vector with all centroids."""
    return 2.0 * (parts.lists or 0) * parts.kept


def _steps(ef: int, count: int, links: int) -> float:
    return float(_STEPS * links / _LINKS * ef**_BY_EF * count**_BY_COUNT)
