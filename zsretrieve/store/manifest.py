"""The manifest of an index, ``manifest.json``: read strictly and written in one canonical form.

The file ends with a digest of its own content, and only the canonical bytes are accepted, so any change shows.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import IndexFormatError, IndexVersionError, UsageError
from zsretrieve.domain.kinds import Approximate
from zsretrieve.domain.plain import rebuilt
from zsretrieve.domain.records import Manifest
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.spaces import space_fields
from zsretrieve.domain.training import ADAPTERS
from zsretrieve.system.data_dir import data_folder

NAME = "manifest.json"
COPY = "manifest.copy.json"
STAGING = ".building"
# Beside the manifest, which does not name them: an index is sound without them.
MAP = "map.parquet"
SEARCHES = "searches.json"
FORMAT = "zsretrieve-index"
FORMAT_VERSION = 5
# Versions of zsretrieve before approximate indexes read version 2, and those before texts, adapters, LP++, regions and
# spaces whose text side was trained alone version 4, so that all indexes that they understand are written as these. Of
# regions they would lose the vectors with their next commit.
_WITHOUT_APPROXIMATE, _WITHOUT_TEXTS = 2, 4
# Before counts of what changed since training and tuning; written with parts, and before that without.
_WITHOUT_COUNTS = 3
REBUILD = "Restore the folder from a copy, or build the index again."

_SEGMENT = re.compile(r"[0-9a-f]{12}")
_FILE = re.compile(
    r"segments/[0-9a-f]{12}/((vectors|regions|removed|drawn|keys|values)\.npy|items(\.copy)?\.parquet|prompts\.json|index\.faiss|"
    r"approximate\.faiss)"
)
# A gallery can be made of these.
_ARCHIVES = (".tar", ".zip", ".parquet")
_MAX_NEXT_ID = 2**63 - 1
# Left out where they are empty, so that versions before these fields can read most indexes.
_OPTIONAL = (
    "training",
    "lifted",
    "exclude",
    "include",
    "home",
    "fitted_scale",
    "approximate",
    "holds_texts",
    "adapter",
    "regions",
)


def to_bytes(manifest: Manifest) -> bytes:
    """The canonical form of a manifest."""
    content = {"format": FORMAT, "format_version": _version(manifest), **asdict(manifest)}
    content["space"] = space_fields(manifest.space)
    for name in _OPTIONAL:
        if not content[name]:
            del content[name]
    if (made := content.get("approximate")) and made["tuning"] is None:
        del made["tuning"]
    content["digest"] = _digest(content)
    return _canonical(content)


def to_dict(manifest: Manifest) -> dict[str, Any]:
    """The content of the manifest's file."""
    content: dict[str, Any] = json.loads(to_bytes(manifest))
    return content


def is_index(folder: Path) -> bool:
    """Whether a folder holds a manifest of this program, sound or not."""
    try:
        return f'"format": "{FORMAT}"'.encode() in (folder / NAME).read_bytes()
    except OSError:
        return False


def exists(folder: Path) -> bool:
    """Whether a folder has a manifest or a copy of one, sound or not."""
    return (folder / NAME).exists() or (folder / COPY).exists()


def repair_hint(folder: Path) -> str:
    """What to do about a damaged index."""
    return f"See what can be saved with: zsretrieve index repair {shlex.quote(shown(folder))}"


# Where in the data folder indexes are that have names.
NAMED = "indexes"


def shown(folder: Path) -> str:
    """How a user names an index: by its ``@NAME`` if it has one, else by its path."""
    return f"@{folder.name}" if folder.parent == data_folder() / NAMED else str(folder)


def _gallery_of(source: Path) -> Path | None:
    """A gallery in the data folder that was made of a folder or archive."""
    place = os.path.realpath(source)
    for file in sorted((data_folder() / NAMED).glob(f"*/{NAME}")):
        with contextlib.suppress(OSError, IndexFormatError):
            if place in map(os.path.realpath, from_bytes(file.read_bytes(), file).origins):
                return file.parent
    return None


def _near(folder: Path) -> str:
    """What to do where no index has the name of a folder."""
    names = [one.parent.name for one in folder.parent.glob(f"*/{NAME}")]
    close = [f"@{name}" for name in difflib.get_close_matches(folder.name, names, n=3)]
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{meant}zsretrieve index list shows them."


def build_command(folder: Path) -> str:
    """The command that makes a gallery of a folder or archive, in the user's data folder under its name."""
    name = shlex.quote(f"@{os.path.basename(os.path.realpath(folder))}")
    return f"zsretrieve index gallery {shlex.quote(str(folder))} {name}"


def read(folder: Path) -> Manifest:
    """Read and check the manifest of an index folder.

    Raises
    ------
    IndexFormatError
        If there is none, it is damaged, or it was written by a newer version.
    """
    path = folder / NAME
    if not folder.exists():
        if shown(folder) != str(folder):
            raise IndexFormatError(f"there is no index '{shown(folder)}'", hint=_near(folder))
        raise IndexFormatError(
            f"there is no index at '{folder}'", hint="Build one: zsretrieve index gallery, or index prototypes."
        )
    try:
        return from_bytes(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / COPY).exists():
            message, hint = f"the manifest of '{shown(folder)}' is missing", repair_hint(folder)
        elif folder.is_file() and not folder.name.lower().endswith(_ARCHIVES):
            message, hint = f"'{folder}' is a file, not an index", "Give the folder of an index, or its @NAME."
        elif (folder / STAGING / NAME).exists():
            name = shown(folder)
            message, hint = f"the index '{name}' is not finished: its build was interrupted", _resume_hint(folder)
        else:
            message = f"'{folder}' is not an index: it has no {NAME}"
            hint = f"Index its images: {build_command(folder)}; or let search or serve do it: add --build."
            named = _gallery_of(folder)
            if named is not None:
                hint = f"Its gallery is {shlex.quote(shown(named))}: give that."
        raise IndexFormatError(message, hint=hint) from error
    except OSError as error:
        raise IndexFormatError(f"'{path}' cannot be read: {error.strerror}", hint="Check its permissions.") from error


def read_either(folder: Path) -> Manifest:
    """Read the manifest, or its copy if the manifest is missing or damaged.

    Raises
    ------
    IndexFormatError
        If neither is sound, or the manifest cannot be read or is of another version.
    """
    try:
        return read(folder)
    except IndexVersionError:
        raise
    except IndexFormatError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise  # it may be sound, though it cannot be read now
        try:
            return from_bytes((folder / COPY).read_bytes(), folder / COPY)
        except IndexVersionError:
            raise
        except FileNotFoundError:
            raise error from None
        except (OSError, IndexFormatError):
            raise IndexFormatError(f"{error.message}, and so is its copy", hint=REBUILD) from None


def from_bytes(raw: bytes, path: Path) -> Manifest:
    """Parse and check the bytes of a manifest; ``path`` is for messages. Raises IndexFormatError."""
    hint = repair_hint(path.parent)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise IndexFormatError(f"'{path}' is damaged: not valid JSON", hint=hint) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise IndexFormatError(f"'{path}' is not the manifest of a zsretrieve index", hint=hint)
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IndexVersionError(
            f"'{path}' has format version {version}; this zsretrieve reads up to {FORMAT_VERSION}",
            hint="Upgrade zsretrieve.",
        )
    if version == 1:
        raise IndexVersionError(
            f"'{path}' has format version 1, from before the first release", hint="Build the index again."
        )
    digest = content.pop("digest", None)
    try:
        if digest != _digest(content) or _canonical({**content, "digest": digest}) != raw:
            raise ValueError("its digest does not match its content")
        del content["format"], content["format_version"]
        _in_parts(content)
        manifest = rebuilt(Manifest, content, strict=True)
        if version != _version(manifest) and (manifest.approximate is None or version != _WITHOUT_COUNTS):
            raise ValueError("its content is of another format version")
        check(manifest)
    except (TypeError, ValueError, KeyError) as error:
        raise IndexFormatError(f"'{path}' is damaged: {error.args[0]}", hint=hint) from error
    return manifest


def check(manifest: Manifest) -> None:
    """Raise ValueError for names and numbers that no reader accepts, although the digest matches."""
    approximate = manifest.approximate
    derived = () if approximate is None else approximate.files
    for name in [*manifest.files, *filter(None, [manifest.index]), *derived]:
        if _FILE.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not a file of an index")
    segments = {segment.name for segment in manifest.segments}
    if not all(_SEGMENT.fullmatch(name) for name in segments) or len(segments) < len(manifest.segments):
        raise ValueError("invalid names of segments")
    numbers = [manifest.count, manifest.generation, *(n for s in manifest.segments for n in (s.rows, s.removed))]
    if approximate is not None:
        tuning = approximate.tuning
        efforts = [approximate.effort, *(() if tuning is None else (one.effort for one in tuning.ladder))]
        numbers += [one.exact_below for one in efforts]
        if min(n for one in efforts for n in (one.depth, one.probes, one.ef) if n is not None) < 1:
            raise ValueError("an approximate index that looks at nothing")
        numbers += [
            approximate.trained,
            approximate.added,
            approximate.memory or 0,
            0 if tuning is None else tuning.changed,
        ]
        _check_parts(approximate, {segment.name: segment.rows for segment in manifest.segments})
    _check_regions(manifest)
    if min(numbers) < 0 or not 0 <= manifest.next_id <= _MAX_NEXT_ID:
        raise ValueError("numbers out of range")
    if any("\0" in text for text in (manifest.root or "", manifest.home or "", *manifest.origins)):
        raise ValueError("a path with a zero byte")


def _check_regions(manifest: Manifest) -> None:
    try:
        boxes_of(manifest.regions)
    except UsageError as error:
        raise ValueError(error.message) from error
    if manifest.regions is not None and manifest.approximate is not None:
        raise ValueError("an approximate index beside regions")


def _check_parts(approximate: Approximate, segments: dict[str, int]) -> None:
    """Raise ValueError unless the parts hold rows once, and of the segments that are there none beyond their end."""
    if not approximate.rows:
        raise ValueError("an approximate index without rows")
    end_of: dict[str, int] = {}
    covers = [one for part in approximate.parts for one in part.covers]
    for one in sorted(covers, key=lambda one: (one.name, one.start)):
        end = one.start + one.rows
        if one.rows < 0 or one.start < end_of.get(one.name, 0) or end > segments.get(one.name, end):
            raise ValueError(f"the approximate index does not hold rows of segment {one.name!r} once each")
        end_of[one.name] = end


def _in_parts(content: dict[str, Any]) -> None:
    """Take the approximate index of a manifest from before there were parts as one part."""
    old = content.get("approximate")
    if isinstance(old, dict) and "covers" in old:
        old["parts"] = [{"file": old.pop("file"), "covers": old.pop("covers")}]


def _version(manifest: Manifest) -> int:
    """The lowest version that says all of it, so that older versions of zsretrieve open what they understand."""
    learnt = manifest.training is not None and manifest.training.method in ADAPTERS
    if manifest.holds_texts or learnt or manifest.regions is not None or manifest.space.images_of is not None:
        return FORMAT_VERSION
    return _WITHOUT_APPROXIMATE if manifest.approximate is None else _WITHOUT_TEXTS


def _resume_hint(folder: Path) -> str:
    """How to finish an interrupted build."""
    try:
        staged = from_bytes((folder / STAGING / NAME).read_bytes(), folder / STAGING / NAME)
    except (OSError, IndexFormatError):
        return "Run the command that builds it once more."
    source = shlex.quote(staged.origins[0]) if staged.origins else "SOURCE"
    name, model = shlex.quote(shown(folder)), shlex.quote(staged.space.model)
    verb = "texts" if staged.holds_texts else "gallery"
    regions = "" if staged.regions is None else f" --regions {staged.regions}"
    return f"Continue with: zsretrieve index {verb} {source} {name} --model {model}{regions}"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()
