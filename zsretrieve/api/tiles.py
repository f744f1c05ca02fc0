"""The tiles of a gallery that is to be built: what does not go with them, and what they do not show."""

from __future__ import annotations

import logging

from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.kinds import FLAT
from zsretrieve.domain.regions import Pyramid
from zsretrieve.domain.settings import Cluster, Reading
from zsretrieve.domain.wording import counted
from zsretrieve.encoding.regions import crops
from zsretrieve.store.indexes import Gallery

_log = logging.getLogger("zsretrieve")


def checked(regions: str, kind: str, ray: Cluster | None, reading: Reading) -> str:
    """The regions that a text names. Raises UsageError if there are none, or they do not go with the rest."""
    pyramid = Pyramid.of(regions)
    if kind != FLAT:
        raise UsageError(
            "regions need the index kind Flat, which compares all of them", hint="Leave the index kind out."
        )
    if ray is not None:
        raise UsageError("regions are not encoded on a cluster", hint="Leave `ray` out, or `regions`.")
    if reading.fast:
        raise UsageError(
            "fast decoding shrinks images before tiles are cut out of them", hint="Leave `fast` out, or `regions`."
        )
    return pyramid.spec


def note_unseen(gallery: Gallery) -> None:
    """Say how many images have parts that no tile shows, since the model sees a square of each."""
    if gallery.manifest.regions is None or not crops(gallery.space.preprocessing):
        return
    pyramid = Pyramid.of(gallery.manifest.regions)
    long = sum(not pyramid.reaches_all(item.width, item.height) for item in gallery.items)
    if long:
        _log.warning(
            f"{counted(long, 'image')} {'is' if long == 1 else 'are'} longer than {2 * pyramid.levels - 1}:"
            f"{pyramid.levels}: the model sees a square of each tile, so parts between these are not searched"
        )
