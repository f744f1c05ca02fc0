"""Galleries by name, in the user's data folder."""

from __future__ import annotations

import logging
import os

from zsretrieve.api.gallery import build_gallery, sync
from zsretrieve.api.indexes import is_index
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import PathLike
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.images.content import is_image_name
from zsretrieve.store import folder as folders
from zsretrieve.store import named
from zsretrieve.store.named import NamedIndex

_log = logging.getLogger("zsretrieve")


def named_indexes() -> list[NamedIndex]:
    """The indexes in the user's data folder, by name; ``@NAME`` stands for the folder of one everywhere."""
    return list(named.named())


def gallery_of(
    source: PathLike,
    model: ModelLike | None = None,
    *,
    reading: Reading | None = None,
    on_stage: OnStage | None = None,
) -> str:
    """The ``@NAME`` of the gallery of a folder: built in the user's data folder at first, later brought up to date.

    A build that was interrupted continues, with the model that it began with unless one is given. The parameters and
    errors are those of ``build_gallery`` and ``sync``.

    Raises
    ------
    UsageError
        If it is an index itself.
    """
    text = os.fspath(source)
    if text == "-" or (text.startswith(named.PREFIX) and not is_index(source)) or is_image_name(text):
        raise UsageError(
            f"a gallery is built of a folder or an archive of images, not of '{text}'",
            hint="For single files or a list of paths, run: zsretrieve index gallery SOURCE @NAME",
        )
    if is_index(source):
        raise UsageError(
            f"'{source}' is an index already, so there is nothing to build",
            hint=f"Search it as it is; zsretrieve index sync '{source}' brings it up to date.",
        )
    name = named.name_for(os.fspath(source))
    folder = named.folder_of(name)
    if folders.current(folder) is None:
        if (begun := folders.staged(folder)) is not None:
            model = as_model(model).named(begun.space.model)
        build_gallery(source, name, model, reading=reading, on_stage=on_stage)
    else:
        done = sync(name, model, reading=reading, on_stage=on_stage)
        counts = {what: getattr(done, what) for what in ("added", "changed", "moved", "removed", "missing")}
        if any(counts.values()):
            _log.info(f"{name}: {', '.join(f'{number} {what}' for what, number in counts.items() if number)}")
    return name
