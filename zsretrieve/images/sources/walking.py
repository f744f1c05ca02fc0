"""Walking through a folder: what is taken, what could not be read, what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zsretrieve.domain.records import Skipped
from zsretrieve.domain.settings import Choice
from zsretrieve.images.archives import kind_of
from zsretrieve.images.archives.members import is_hidden_name, is_kept_by_program
from zsretrieve.images.content import advice, is_image_name, looks_like_image
from zsretrieve.images.sources.source import FOLDER, LeftOut

EXCLUDED = "by --exclude"
_HIDDEN = "hidden"
_KEPT = "a program's own; take them with --include NAME"
_UNNAMED = "images all the same; take them with --include NAME"
_ARCHIVE = "an archive; give it by name"
_INDEX = "an index of zsretrieve"


@dataclass
class Walk:
    """The files below a folder, sorted; folders that could not be read; what is left out, most frequent first."""

    files: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return left_out(self.counts)


def left_out(counts: Counter[tuple[str, str | None]]) -> tuple[LeftOut, ...]:
    """What is left out, most frequent first, from the numbers of each kind and reason."""
    return tuple(LeftOut(what, count, reason) for (what, reason), count in (+counts).most_common())


def walk(root: Path, choice: Choice, wanted: Callable[[str], bool] = is_image_name) -> Walk:
    """Go through a folder. Each folder is entered once, however many links lead to it, so loops end."""
    walked = Walk()
    top = str(root)
    entered: set[tuple[int, int]] = set()

    def relative(path: str) -> str:
        return os.path.relpath(path, top).replace(os.sep, "/")

    def refused(error: OSError) -> None:
        walked.skipped.append(Skipped(relative(error.filename), f"{FOLDER}{(error.strerror or str(error)).lower()}"))

    for where, folders, names in os.walk(top, followlinks=True, onerror=refused):
        try:
            state = os.stat(where)
        except OSError as error:  # gone since it was listed
            refused(error)
            folders.clear()
            continue
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        below = "" if where == top else f"{relative(where)}/"
        if below and "manifest.json" in names and "segments" in folders:
            walked.counts[f"{os.path.basename(where)}/", _INDEX] += 1
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if _enters(below, name, choice, walked))
        for name in names:
            if _takes(where, below, name, choice, wanted, walked):
                walked.files.append(f"{below}{name}")
    walked.files.sort(key=lambda path: path.split("/"))
    walked.skipped.sort(key=lambda one: one.path)
    return walked


def _enters(below: str, name: str, choice: Choice, walked: Walk) -> bool:
    path = f"{below}{name}"
    if choice.includes(path):
        return True
    if choice.excludes(path):
        walked.counts[f"{name}/", EXCLUDED] += 1
    elif is_hidden_name(name):
        walked.counts[f"{name}/", _HIDDEN] += 1
    elif is_kept_by_program(path):
        walked.counts[f"{name}/", _KEPT] += 1
    else:
        return True
    return False


def _takes(where: str, below: str, name: str, choice: Choice, wanted: Callable[[str], bool], walked: Walk) -> bool:
    path = f"{below}{name}"
    if choice.includes(path):
        return True
    named = wanted(name)
    suffix = os.path.splitext(name)[1].lower()
    if choice.excludes(path):
        walked.counts[suffix or name, EXCLUDED] += named
    elif is_hidden_name(name):
        walked.counts[suffix, _HIDDEN] += named
    elif named:
        return True
    elif (lost := _lost_link(os.path.join(where, name))) is not None:
        walked.skipped.append(Skipped(path, f"{FOLDER}{lost}"))
    elif suffix:
        reason = advice(suffix) or (_ARCHIVE if kind_of(name) is not None else None)
        walked.counts[suffix, reason] += 1
    elif looks_like_image(os.path.join(where, name)):
        walked.counts["without a suffix", _UNNAMED] += 1
    else:
        walked.counts["without a suffix", None] += 1
    return False


def _lost_link(path: str) -> str | None:
    """Why a link leads nowhere, perhaps to a drive that is away; None for anything else."""
    if not os.path.islink(path):
        return None
    try:
        os.stat(path)
    except FileNotFoundError:
        return f"a link to '{os.readlink(path)}', which is missing"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
