"""How labels spread through a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from zsretrieve.domain.arguments import Between, Count, check_fields


@dataclass(frozen=True)
class Propagation:
    """Spread the classes of text prototypes over the images of a gallery, which need no labels.

    The defaults are those of Stojnic et al. 2024 for ImageNet.

    Parameters
    ----------
    neighbours : int
        The nearest images of each image, and the nearest classes, that it is joined to.
    gamma : float
        The power of the similarities of images and texts: the higher, the less the farther classes count.
    alpha : float
        How much of a class goes on from neighbour to neighbour.
    sparse : bool
        Of every image of the graph keep the best class alone, for classifying others: less memory, coarser answers.
    """

    neighbours: Count = 5
    gamma: Annotated[float, Between(0, 100)] = 5.0
    alpha: Annotated[float, Between(0, 0.999)] = 0.3
    sparse: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
