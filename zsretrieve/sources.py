"""Where pictures come from: folders, lists, ground-truth files."""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsretrieve import addresses
from zsretrieve.errors import OptionalDependencyError, SourceError
from zsretrieve.images import is_image_name
from zsretrieve.records import Item, Skipped

_SYNSET = re.compile(r"n\d{8}")
_FOLDER = "folder: "


@dataclass(frozen=True)
class SourceFile:
    """One file to read.

    In a new gallery its place in the source is its id, whether it can be read or not, unless ``id`` gives it one.
    """

    path: str
    label: str | None = None
    id: int | None = None


@dataclass(frozen=True)
class Source:
    """Files to read, in order; paths are relative to ``root`` where they lie below it.

    ``skipped`` are folders that could not be looked into. ``where`` lists the files anew when it is opened as a
    source again; None if they were named one by one.
    """

    root: str
    files: tuple[SourceFile, ...]
    skipped: tuple[Skipped, ...] = ()
    where: str | None = None

    def address(self, file: SourceFile) -> str:
        return addresses.join(self.root, file.path)


def folder(root: str | Path, ground_truth: str | Path | None = None) -> Source:
    """All pictures below a folder, sorted by path.

    The label of a picture is the name of the first folder below the root, as in an ImageFolder, or comes from the
    ground-truth file. Hidden files and folders, and files that are not named like pictures, are left out.

    Raises
    ------
    SourceError
        If the folder is missing or holds no picture, or the ground-truth file does not fit.
    """
    root = Path(root)
    if not root.exists():
        raise SourceError(f"there is no folder or file '{root}'", hint="Check the path.")
    if not root.is_dir():
        raise SourceError(f"'{root}' is not a folder", hint="Give a folder of images.")
    found, unread = _walk(root)
    if not found:
        raise SourceError(
            f"there are no images in '{root}'", hint="Looked for .jpg, .png, .webp and other picture files."
        )
    if ground_truth is not None:
        files = tuple(_with_ground_truth(found, Path(ground_truth)))
    else:
        files = tuple(SourceFile(p, p.split("/")[0] if "/" in p else None) for p in found)
    return Source(str(root.absolute()), files, unread, where=str(root.absolute()))


def paths(names: Iterable[str | Path], root: str | Path | None = None) -> Source:
    """The files named, in the order given; relative ones are relative to ``root`` (the current folder by default).

    Raises
    ------
    SourceError
        If no file is named.
    """
    base = Path(root).absolute() if root is not None else Path.cwd()
    files = []
    for name in names:
        # Not normalised: behind a link, `x/..` is not where it started.
        text = os.fspath(name)
        below = text.removeprefix(f"{base}{os.sep}").lstrip(os.sep) if text.startswith(f"{base}{os.sep}") else text
        files.append(SourceFile(below or text))
    if not files:
        raise SourceError("no image was named", hint="Give one path a line.")
    return Source(str(base), tuple(files))


def read_list(lines: Iterable[str], root: str | Path | None = None) -> Source:
    """A source from a list of paths, one a line; empty lines are passed over."""
    return paths([line for line in (raw.rstrip("\r\n") for raw in lines) if line.strip()], root)


def of_gallery(items: Sequence[Item], skipped: Sequence[Skipped], root: str | None) -> Source:
    """The pictures of a gallery, to be read again, each at its old place; those once skipped are tried again."""
    places = {item.id: SourceFile(item.path, item.label) for item in items}
    taken = frozenset(places)
    gaps = (place for place in itertools.count() if place not in taken)
    for once in skipped:
        if not once.reason.startswith(_FOLDER):
            places[next(gaps)] = SourceFile(once.path, once.path.split("/")[0] if "/" in once.path else None)
    folders = tuple(once for once in skipped if once.reason.startswith(_FOLDER))
    return Source(root or ".", tuple(places[place] for place in sorted(places)), folders)


def _walk(root: Path) -> tuple[list[str], tuple[Skipped, ...]]:
    """Pictures below a folder, sorted, and the folders that could not be read. A folder is entered once, however
    many links lead to it, so loops end.
    """
    found: list[str] = []
    unread: list[Skipped] = []
    entered: set[tuple[int, int]] = set()

    def relative(path: str) -> str:
        return os.path.relpath(path, root).replace(os.sep, "/")

    def refused(error: OSError) -> None:
        unread.append(Skipped(relative(error.filename), f"{_FOLDER}{(error.strerror or str(error)).lower()}"))

    for where, folders, names in os.walk(root, followlinks=True, onerror=refused):
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
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [relative(os.path.join(where, n)) for n in names if not n.startswith(".") and is_image_name(n)]
    return sorted(found, key=lambda p: p.split("/")), tuple(unread)


def _with_ground_truth(found: list[str], truth: Path) -> list[SourceFile]:
    by_name, in_order = read_ground_truth(truth)
    if in_order is not None:
        if len(in_order) != len(found):
            raise SourceError(
                f"'{truth}' has {len(in_order)} labels, but the folder holds {len(found)} images",
                hint="A list without file names needs one label for each image, in the order of the names.",
            )
        return [SourceFile(path, label) for path, label in zip(found, in_order, strict=True)]
    return _by_name(found, by_name, truth)


def read_ground_truth(path: Path) -> tuple[dict[str, str], list[str] | None]:
    """Labels from a ground-truth file, by file name or in the order of the sorted names.

    Understood are: ``name label`` on each line, the label a synset id, a class name or the class's number from 0
    (as ``val.txt`` has it); Kaggle's ``LOC_val_solution.csv``; one label a line; and the development kit's
    ``ILSVRC2012_validation_ground_truth.txt``, whose numbers have an order of their own and need its ``meta.mat``
    beside the file.

    Returns
    -------
    by_name : dict of file name, as written, to label
    in_order : list of labels, or None when the file names its images

    Raises
    ------
    SourceError
        If it cannot be read or understood.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the ground truth '{path}' cannot be read: {error}", hint="Give a text file.") from error
    if not lines:
        raise SourceError(f"the ground truth '{path}' is empty", hint="Give one label a line.")
    if lines[0].lower().startswith("imageid,"):
        rows = list(csv.reader(lines[1:]))
        return _unique(((row[0], row[1].split()[0]) for row in rows if len(row) > 1 and row[1].strip()), path), None
    if all(_is_number(line) for line in lines):
        return {}, _development_kit_labels(path, [int(line) for line in lines])
    named = [re.split(r"[\s,]+", line, maxsplit=1) for line in lines]
    if all(len(parts) == 2 and is_image_name(parts[0]) for parts in named):
        return _unique(((name, _numbered(label)) for name, label in named), path), None
    if all(_SYNSET.fullmatch(line) for line in lines) or not any(is_image_name(parts[0]) for parts in named):
        return {}, lines
    raise SourceError(
        f"the ground truth '{path}' mixes lines with and without file names",
        hint="Write 'name label' on every line, or one label a line in the order of the names.",
    )


def _by_name(found: list[str], labels: dict[str, str], truth: Path) -> list[SourceFile]:
    """Labels for the pictures found: by path as written, by file name, or by the name without its suffix.

    Taken is the way that finds most of the named pictures, and only one in which no two of them share a name.
    """
    best: list[SourceFile] = []
    most = 0
    for short in (str, os.path.basename, _stem):
        named = {short(name): label for name, label in labels.items()}
        mine = [short(path) for path in found]
        matched = sum(key in named for key in mine)
        if len(named) == len(labels) and len(set(mine)) == len(mine) and matched > most:
            most = matched
            best = [SourceFile(path, named.get(key)) for path, key in zip(found, mine, strict=True)]
    if not best:
        raise SourceError(
            f"'{truth}' names none of the images in the folder, or names that several of them share",
            hint="Write paths relative to the folder, one line for each image.",
        )
    return best


def _unique(pairs: Iterable[tuple[str, str]], truth: Path) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, label in pairs:
        if labels.setdefault(name, label) != label:
            raise SourceError(f"'{truth}' gives two labels to '{name}'", hint="Keep one of them.")
    return labels


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _numbered(label: str) -> str:
    return f"#{int(label)}" if _is_number(label) else label


def _development_kit_labels(path: Path, ids: list[int]) -> list[str]:
    meta = next((p for p in (path.parent / "meta.mat", path.parent / "data" / "meta.mat") if p.is_file()), None)
    if meta is None:
        raise SourceError(
            f"'{path}' holds bare numbers, whose order is the development kit's own",
            hint=f"Put the kit's meta.mat into '{path.parent}', or give a file with synset ids.",
        )
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise OptionalDependencyError(
            "reading the development kit's meta.mat needs scipy",
            hint="Install it with: pip install scipy",
        ) from error
    try:
        synsets = loadmat(str(meta), squeeze_me=True, struct_as_record=False)["synsets"]
        by_id = {int(s.ILSVRC2012_ID): str(s.WNID) for s in synsets}
    except (MatReadError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise SourceError(f"'{meta}' is not the development kit's: {error}", hint="Take it from the kit.") from error
    unknown = sorted(set(ids) - set(by_id))
    if unknown:
        raise SourceError(
            f"'{path}' has ids that '{meta}' does not know: {unknown[:5]}", hint="Take both from one kit."
        )
    return [by_id[i] for i in ids]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
