"""Whether vectors may meet: those of the same embedding space, and images with the texts that fit their tower."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from zsretrieve.domain.errors import SpaceMismatchError
from zsretrieve.domain.records import Space


def check_same_space(one: Space, one_name: str, other: Space, other_name: str) -> None:
    """Raise SpaceMismatchError, naming both sides, unless vectors of the two spaces are comparable."""
    differences = one.differences(other)
    if differences:
        raise SpaceMismatchError(
            f"the embedding spaces of {one_name} ('{one.model}') and {other_name} ('{other.model}') differ in "
            f"{', '.join(differences)}",
            hint=f"Build one of the two again with the other's `model` {other.model}",
        )


def check_same_images(one: Space, one_name: str, other: Space, other_name: str) -> None:
    """``check_same_space`` where one of the two sides has vectors of images: the same image tower is enough, since a
    text side that was trained for it (``zsretrieve train``) changes no vector of an image.
    """
    check_same_space(one, one_name, with_text_side(other, one), other_name)


def with_text_side(space: Space, other: Space) -> Space:
    """A space with the text side of another that has the same image tower; without that, the space itself."""
    if space.image_side != other.image_side:
        return space
    return replace(space, model=other.model, weights=other.weights, images_of=other.images_of)


def space_fields(space: Space) -> dict[str, Any]:
    """The fields of a space for files; older versions do not know ``images_of``, so it is only there if it is set."""
    content = asdict(space)
    if space.images_of is None:
        del content["images_of"]
    return content
