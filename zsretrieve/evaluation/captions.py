"""Caption retrieval: from images to their captions and back, as the papers of vision-language models report it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsretrieve.domain.errors import RankError, SourceError
from zsretrieve.domain.plain import Result, Table
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.images.sources import Source
from zsretrieve.metrics.pairs import best_own, own_places, own_scores

RANKS = (1, 5, 10)
_NO_IMAGE, _UNKNOWN, _SEVERAL = "it names no image", "there is no image", "there are several images"


@dataclass(frozen=True)
class Direction(Result):
    """Retrieval in one direction, over ``n`` queries.

    ``recall_at`` are the fractions of the queries that have one of their own among the first k; ``median_rank`` is that
    of the best of their own, from 1.
    """

    n: int
    recall_at: dict[int, float]
    median_rank: float

    @classmethod
    def of(cls, places: Rows, ranks: Sequence[int]) -> Direction:
        """From the place of each query's best own, int64 of shape (n,), from 0."""
        recall_at = {k: float(np.count_nonzero(places < k)) / len(places) for k in ranks}
        return cls(len(places), recall_at, float(np.median(places)) + 1)


@dataclass(frozen=True)
class CaptionReport(Result, Table):
    """Caption retrieval among ``image_to_text.n`` images and ``text_to_image.n`` captions.

    ``skipped`` are captions and images that could not be used, among them ``n_captions_without_image``;
    ``n_images_without_captions`` were left out.
    """

    image_to_text: Direction
    text_to_image: Direction
    n_captions_without_image: int
    n_images_without_captions: int
    skipped: tuple[Skipped, ...]
    model: str
    split: str | None = None
    where: str | None = None

    @property
    def mean_recall_at(self) -> dict[int, float]:
        """The mean of both directions by k."""
        other = self.text_to_image.recall_at
        return {k: (value + other[k]) / 2 for k, value in self.image_to_text.recall_at.items()}

    @property
    def mean_recall(self) -> float:
        """The mean over both directions and every k."""
        return statistics.fmean(self.mean_recall_at.values())

    def __repr__(self) -> str:
        of = f"{self.image_to_text.n} images, {self.text_to_image.n} captions"
        return f"CaptionReport(mean recall {100 * self.mean_recall:.2f} %, {of}, {self.model})"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each direction, and one for the mean of both."""
        both = (("image to text", self.image_to_text), ("text to image", self.text_to_image))
        rows: list[dict[str, Any]] = [
            {"direction": name, **_at(one.recall_at), "median_rank": one.median_rank, "n": one.n} for name, one in both
        ]
        return [*rows, {"direction": "mean", **_at(self.mean_recall_at), "median_rank": None, "n": None}]

    def to_dict(self) -> dict[str, Any]:
        """All figures; rates are fractions."""
        figures: dict[str, Any] = {}
        for name in ("image_to_text", "text_to_image"):
            one: Direction = getattr(self, name)
            figures |= {f"{name}_{key}": value for key, value in _at(one.recall_at).items()}
            figures[f"{name}_median_rank"] = one.median_rank
        return {
            **figures,
            **{f"mean_{key}": value for key, value in _at(self.mean_recall_at).items()},
            "mean_recall": self.mean_recall,
            "n_images": self.image_to_text.n,
            "n_captions": self.text_to_image.n,
            "n_images_without_captions": self.n_images_without_captions,
            "n_captions_without_image": self.n_captions_without_image,
            "n_skipped": len(self.skipped),
            "model": self.model,
            "split": self.split,
            "where": self.where,
        }


def _at(recall_at: dict[int, float]) -> dict[str, float]:
    return {f"recall@{k}": value for k, value in recall_at.items()}


def check_ranks(ranks: Sequence[int]) -> None:
    """Raise RankError unless each k is at least 1."""
    if min(ranks) < 1:
        raise RankError(f"every k must be at least 1, got {list(ranks)}", hint="Give ranks such as 1, 5 and 10.")


@dataclass(frozen=True)
class Paired:
    """Which images captions describe.

    ``images`` are the places of images with a caption, ascending, and ``captions`` those of captions with an image;
    ``owners[i]`` says which of ``images`` caption i describes, int64 of shape (n_captions,). ``without`` are the other
    captions, with the reason.
    """

    images: Rows
    captions: Rows
    owners: Rows
    without: tuple[Skipped, ...]

    def only(self, readable: Rows) -> Paired:
        """Without the images that could not be read; ``readable`` are indices into ``images``, ascending."""
        keep = np.isin(self.owners, readable)
        owners = np.searchsorted(readable, self.owners[keep])
        return Paired(self.images[readable], self.captions[keep], owners, self.without)


def pair(captions: Source, paths: Sequence[str], addresses: Sequence[str], where: str) -> Paired:
    """Find the image of each caption by its path.

    A caption may name an image by the end of its address, or by more than its path in the source: in published splits,
    ``val2014/x.jpg`` is the file ``x.jpg`` of a folder whose name may be another.

    Parameters
    ----------
    captions : Source
        Of texts.
    paths, addresses : sequence of str
        Of the images: as their source or gallery writes them, and in full.
    where : str
        What the images are called, for the error.

    Raises
    ------
    SourceError
        If no caption has an image.
    """
    named: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        named.setdefault(path.rpartition("/")[2], []).append(place)
    known: dict[str, int | str] = {}
    found: list[tuple[int, int]] = []
    without = []
    for place, file in enumerate(captions.files):
        image = None if file.text is None else file.text.image
        if image is not None and image not in known:
            some = named.get(image.rpartition("/")[2], [])
            known[image] = _match(image, [(one, paths[one], addresses[one]) for one in some])
        owner = _NO_IMAGE if image is None else known[image]
        if isinstance(owner, str):
            without.append(Skipped(file.path, owner if image is None else f"{owner} '{image}'"))
        else:
            found.append((place, owner))
    if not found:
        first = without[0]
        raise SourceError(
            f"none of {len(without)} captions describes an image of '{where}'; first '{first.path}': {first.reason}",
            hint="Give the images that they describe, or name the column with their paths as `image_column`.",
        )
    images, owners = np.unique([owner for _, owner in found], return_inverse=True)
    places = np.array([place for place, _ in found], dtype=np.int64)
    return Paired(images.astype(np.int64), places, owners.astype(np.int64), tuple(without))


def _match(image: str, some: Sequence[tuple[int, str, str]]) -> int | str:
    """The place of the one image that is meant, or why there is none; of images with one path it is the first."""
    parts = image.split("/")
    best: dict[str, tuple[int, int]] = {}
    for place, path, address in some:
        of_address, of_path = address.split("/"), path.split("/")
        if of_address[-len(parts) :] == parts or parts[-len(of_path) :] == of_path:
            pairs = zip(reversed(parts), reversed(of_address), strict=False)
            common = sum(itertools.takewhile(bool, (one == other for one, other in pairs)))
            best.setdefault(address, (common, place))
    if not best:
        return _UNKNOWN
    most = max(common for common, _ in best.values())
    likely = [place for common, place in best.values() if common == most]
    return likely[0] if len(likely) == 1 else _SEVERAL


def retrieval(images: Vectors, captions: Vectors, owners: Rows, ranks: Sequence[int]) -> tuple[Direction, Direction]:
    """Retrieval from images to captions, and from captions to images.

    For an image the best of its captions counts, so recall@k is the fraction of images with any of theirs among the k
    best captions; for a caption it is the fraction whose image is among the k best (CLIP_benchmark,
    ``zeroshot_retrieval.py``, where both are called recall@k). Ties go to the lowest row.

    Parameters
    ----------
    images : float32 of shape (n, dim), unit rows
    captions : float32 of shape (m, dim), unit rows
    owners : int64 of shape (m,)
        The image that each caption describes; every image has a caption.
    ranks : sequence of int
    """
    of_captions = own_places(captions, images, owners)
    best = best_own(own_scores(captions, images, owners), owners, len(images))
    of_images = own_places(images, captions, best)
    return Direction.of(of_images, ranks), Direction.of(of_captions, ranks)
