"""How labelled images are drawn and trained on, as values that travel through every floor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from zsretrieve.domain.arguments import Between, Count, Seed, Share, check_fields
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.training import ADAPTERS, TrainingMethod

# Beyond these the penalty or its inverse is lost in rounding.
_LEAST_C, _MOST_C = 1e-12, 1e12
CHOSEN_BY = ("loss", "accuracy")


@dataclass(frozen=True)
class Shots:
    """Which labelled images prototypes are made from.

    Parameters
    ----------
    per_class : int, optional
        Different images of each class, drawn at random; all by default.
    seed : int
        The same seed draws the same images.
    allow_fewer : bool
        Use all images of a class that has fewer than --shots.
    """

    per_class: Count | None = None
    seed: Seed = 0
    allow_fewer: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Regularisation:
    """How strongly a probe is regularised.

    Parameters
    ----------
    c : float, optional
        Inverse strength of the L2 penalty; swept by default.
    validation : float
        The share of each class's images that the sweep holds back to judge by.
    by : str
        What the sweep chooses by on these: the least ``loss``, whose probabilities can be believed, or the greatest
        ``accuracy``.

    Raises
    ------
    UsageError
        If a value is out of range.
    """

    c: float | None = None
    validation: float = 0.2
    by: str = "loss"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.c is not None and not _LEAST_C <= self.c <= _MOST_C:
            raise UsageError(
                f"C must be between {_LEAST_C:g} and {_MOST_C:g}, got {self.c}", hint="Give a number such as 1."
            )
        _check_choice(self.by, self.validation)


@dataclass(frozen=True)
class AdapterSettings:
    """How images adapt text prototypes.

    Parameters
    ----------
    method : str
        ``tip`` (Tip-Adapter), ``tip-f`` (Tip-Adapter-F) or ``lp++``.
    alpha : float, optional
        The weight of the keys, in units of logits; searched by default. Not for LP++, which learns weights of its own.
    beta : float, optional
        How sharply a key's weight falls with its distance; searched by default.
    validation : float
        The share of each class's images that the search holds back to judge by.
    by : str
        As for ``Regularisation``.

    Raises
    ------
    UsageError
        If a value is out of range, or has no effect on the method.
    """

    method: str = TrainingMethod.TIP.value
    alpha: Annotated[float, Between(0, 1e4)] | None = None
    beta: Annotated[float, Between(1e-4, 1e4)] | None = None
    validation: float = 0.2
    by: str = "loss"

    def __post_init__(self) -> None:
        check_fields(self)
        check_adapters((self.method,))
        if self.method == TrainingMethod.LP and (self.alpha, self.beta) != (None, None):
            raise UsageError("LP++ learns its own weights", hint="Leave `alpha` and `beta` out.")
        _check_choice(self.by, self.validation)


def check_adapters(methods: tuple[str, ...]) -> None:
    """Raise UsageError unless these are ways to adapt text prototypes."""
    for method in methods:
        if method not in ADAPTERS:
            raise UsageError(f"'{method}' is not an adapter", hint=f"Use {' or '.join(ADAPTERS)}.")


@dataclass(frozen=True)
class CurveSettings:
    """The points of a few-shot curve.

    Parameters
    ----------
    shots : tuple of int
        Images per class; 0 is zero-shot.
    seeds : tuple of int
        Each draws images once.
    held_out : float
        The share of each class that is scored and never trained on, where there is no test gallery.
    text_weight : float, optional
        Also score text and image prototypes mixed, with this weight of the text.
    regularisation : Regularisation
        Its ``validation`` and ``by`` also choose the weights of adapters.
    adapters : tuple of str
        Also score these ways to adapt the text prototypes, see ``AdapterSettings``.
    allow_fewer : bool
        Use all images of a class that has fewer than the shots.

    Raises
    ------
    UsageError
        If there are no shots or no seeds, or a value is out of range.
    """

    shots: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    seeds: tuple[Seed, ...] = (0, 1, 2)
    held_out: float = 0.5
    text_weight: Share | None = None
    regularisation: Regularisation = field(default_factory=Regularisation)
    allow_fewer: bool = False
    adapters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        check_adapters(self.adapters)
        object.__setattr__(self, "shots", tuple(sorted(set(self.shots))))
        if not self.shots or self.shots[0] < 0:
            raise UsageError("shots must be 0 or more", hint="Give numbers such as 0,1,2,4,8,16.")
        if not self.seeds:
            raise UsageError("a curve needs at least one seed", hint="Ask for 1 seed or more.")
        _check_share(self.held_out, "the held-out share", "0.5")

    @property
    def drawn(self) -> tuple[int, ...]:
        """The numbers of shots that draw images, ascending."""
        return tuple(n for n in self.shots if n)


def _check_choice(by: str, validation: float) -> None:
    if by not in CHOSEN_BY:
        raise UsageError(f"nothing is chosen by '{by}'", hint=f"Use {' or '.join(CHOSEN_BY)}.")
    _check_share(validation, "the share of validation images", "0.2")


def _check_share(share: float, name: str, example: str) -> None:
    if not 0.0 < share < 1.0:
        raise UsageError(f"{name} must be between 0 and 1, got {share}", hint=f"Give a number such as {example}.")
