"""Model packs: one file, or a folder of the same members, that holds a converted model; read without a model library.

A pack is a zip without compression. Its manifest says what the model is and gives the digest of every member; nothing
in it is a program. docs/formats.md describes the format.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from zsretrieve.domain.errors import WeightsUnavailableError
from zsretrieve.domain.records import RESIZE_MODES, Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.domain.settings import Precision
from zsretrieve.domain.spaces import space_fields
from zsretrieve.encoders.catalog.fingerprint import digest_of_file

MANIFEST = "pack.json"
FORMAT, FORMAT_VERSION = "zsretrieve-pack", 1
LICENCE_TEXT = "LICENSE"
_NEEDED = frozenset({"image.xml", "image.bin", "text.xml", "text.bin", "text.json"})
# No other name is ever written, so a pack cannot name a place outside the folder that it is unpacked into.
MEMBERS = _NEEDED | {"tokenizer.json", LICENCE_TEXT}
_MOST_MANIFEST_BYTES = _MOST_LICENCE_BYTES = 1 << 20
_MOST_SIDE, _MOST_DIM, _MOST_CONTEXT = 1 << 14, 1 << 16, 1 << 16
_WEIGHTS = re.compile(r"(tag|hub|sha256):\S.*")
_AGAIN = "Copy or download it again, or make it again: zsretrieve models export MODEL --pack FILE"


@dataclass(frozen=True)
class Member:
    """A file of a pack: its size in bytes and its sha256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Licence:
    """The licence of the weights: its name and where it is stated; a member ``LICENSE`` may hold its text."""

    name: str
    source: str | None = None


@dataclass(frozen=True)
class Pack:
    """What a pack says of itself.

    ``model`` is the name that it was made from, which is also the name in ``space``. ``precision`` is the one that the
    weights are stored in: fp32, or bf16 if they were rounded. ``made_by`` has the versions of the packages that
    converted the model. ``digest`` is that of the manifest, and so of everything in the pack.
    """

    model: str
    space: Space
    head: Head
    causal: bool
    precision: Precision
    licence: Licence | None
    made_by: Mapping[str, str]
    members: Mapping[str, Member]
    digest: str = ""

    @property
    def size(self) -> int:
        """The bytes of all members."""
        return sum(member.size for member in self.members.values())

    def to_bytes(self) -> bytes:
        """The manifest of the pack, in the only form that is read."""
        content = {**asdict(self), "space": space_fields(self.space)}
        del content["digest"], content["space"]["model"]
        return _canonical({"format": FORMAT, "format_version": FORMAT_VERSION, **content})


class Opened(Protocol):
    """An open pack."""

    pack: Pack

    def open(self, name: str) -> IO[bytes]:
        """The content of a member."""
        ...


def read_pack(path: Path) -> Pack:
    """The manifest of a pack, a file or a folder; the members are not read.

    Raises
    ------
    WeightsUnavailableError
        If it is not a pack, is damaged, or has a newer format.
    """
    with open_pack(path) as opened:
        return opened.pack


def digest_of_pack(path: Path) -> str:
    """What identifies the content of a pack: the sha256 of the file, or of the digests of a folder's members.

    It is cached by size and times. Raises WeightsUnavailableError if it cannot be read.
    """
    try:
        if not path.is_dir():
            return digest_of_file(path)
        files = [file for file in sorted(path.iterdir()) if file.name in MEMBERS | {MANIFEST}]
        listed = "".join(f"{file.name} {digest_of_file(file)}\n" for file in files)
    except OSError as error:
        raise _unreadable(path, error) from error
    return hashlib.sha256(listed.encode()).hexdigest()


def is_pack(path: Path) -> bool:
    """Whether a file is a pack that this version reads; its members are not checked."""
    try:
        read_pack(path)
    except WeightsUnavailableError:
        return False
    return True


def describe_pack(name: str, path: Path) -> dict[str, object]:
    """What a pack says of itself, for people and machine formats, with the text of its licence if it holds that.

    Raises WeightsUnavailableError as ``read_pack`` does.
    """
    with open_pack(path) as opened:
        pack, text = opened.pack, None
        if (licence := pack.members.get(LICENCE_TEXT)) is not None:
            with opened.open(LICENCE_TEXT) as file:
                text = file.read(min(licence.size, _MOST_LICENCE_BYTES)).decode(errors="replace")
    shape = pack.space.preprocessing
    return {
        "name": name,
        "form": "pack",
        "image_size": list(shape.size),
        "dim": pack.space.dim,
        "context_length": pack.space.text.context_length,
        "activation": pack.space.activation,
        "tokenizer": "CLIP BPE"
        if pack.space.text.tokenizer.startswith("SimpleTokenizer")
        else pack.space.text.tokenizer,
        "preprocessing": {
            "mean": list(shape.mean),
            "std": list(shape.std),
            "interpolation": shape.interpolation,
            "resize_mode": shape.resize_mode,
        },
        "weights_from": str(path),
        "cached": True,
        "needs_torch": False,
        "torch_reason": None,
        "made_from": pack.model,
        "weights": pack.space.weights,
        "precision": str(pack.precision),
        "bytes": pack.size,
        "license": None if pack.licence is None else pack.licence.name,
        "license_source": None if pack.licence is None else pack.licence.source,
        "license_text": text,
        "made_by": dict(pack.made_by),
    }


@contextlib.contextmanager
def open_pack(path: Path) -> Iterator[Opened]:
    """Open a pack. In the block, an OSError or a damaged zip becomes a WeightsUnavailableError."""
    try:
        if path.is_dir():
            yield _Folder(path)
        else:
            if not path.is_file():  # opening a pipe would wait for ever
                raise FileNotFoundError(errno.ENOENT, "there is no such file")
            with open(path, "rb") as file:
                yield _Zip(path, file)
    except zipfile.BadZipFile as error:
        name = re.search(r"for file '([\w.]+)'", str(error))
        raise damaged(path, f"its member {name[1]} differs from its checksum" if name else str(error)) from error
    except EOFError as error:
        raise damaged(path, "it ends too early") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def damaged(path: Path, why: str) -> WeightsUnavailableError:
    """The error for a pack that cannot be used; ``why`` ends the sentence."""
    return WeightsUnavailableError(f"the pack '{path}' is damaged: {why}", hint=_AGAIN)


def _unreadable(path: Path, error: OSError) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"the pack '{path}' cannot be read: {(error.strerror or str(error)).lower()}",
        hint="Check its path and permissions.",
    )


class _Zip:
    """A pack in one file. Zips have many features, and a pack needs none of them."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        if file.read(4) != b"PK\x03\x04":
            raise WeightsUnavailableError(
                f"'{path}' is not a model pack", hint="Give a file of: zsretrieve models export MODEL --pack FILE"
            )
        file.seek(0)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise damaged(path, "its end is missing or not that of a zip") from error
        entries = self._zip.infolist()
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        if len(self._sizes) < len(entries):
            raise damaged(path, "it has two members of one name")
        for entry in entries:
            if entry.filename not in MEMBERS | {MANIFEST}:
                raise damaged(path, f"{entry.filename!r} is not a member of a pack")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise damaged(path, f"its member {entry.filename} is compressed or encrypted, which packs are not")
        self.pack = _manifest(path, self)
        _compare_sizes(path, self.pack, {name: size for name, size in self._sizes.items() if name != MANIFEST})

    def open(self, name: str) -> IO[bytes]:
        try:
            return self._zip.open(name)
        except (NotImplementedError, ValueError, RuntimeError) as error:  # of names and features that no pack has
            raise zipfile.BadZipFile(f"its member {name} is not stored as in a pack") from error


class _Folder:
    """The members of a pack as files of a folder, which may hold others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not (path / MANIFEST).is_file():
            raise WeightsUnavailableError(
                f"'{path}' is not a model pack: it has no {MANIFEST}",
                hint="Give a pack, or the folder of an unpacked one.",
            )
        self.pack = _manifest(path, self)
        there = {name: path / name for name in self.pack.members if (path / name).is_file()}
        _compare_sizes(path, self.pack, {name: file.stat().st_size for name, file in there.items()})

    def open(self, name: str) -> IO[bytes]:
        return open(self._path / name, "rb")


class _Members(Protocol):
    def open(self, name: str) -> IO[bytes]: ...


def _manifest(path: Path, members: _Members) -> Pack:
    try:
        with members.open(MANIFEST) as file:
            raw = file.read(_MOST_MANIFEST_BYTES + 1)
    except KeyError:
        raise WeightsUnavailableError(
            f"'{path}' is not a model pack: it has no {MANIFEST}",
            hint="Give a file of: zsretrieve models export MODEL --pack FILE",
        ) from None
    if len(raw) > _MOST_MANIFEST_BYTES:
        raise damaged(path, f"its {MANIFEST} is too large")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its {MANIFEST} is not valid JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise damaged(path, f"its {MANIFEST} is not that of a model pack")
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise damaged(path, f"its {MANIFEST} has no format version")
    if version > FORMAT_VERSION:
        raise WeightsUnavailableError(
            f"the pack '{path}' has format version {version}; this zsretrieve reads up to {FORMAT_VERSION}",
            hint="Upgrade zsretrieve.",
        )
    try:
        if content.pop("digest", None) != _digest(content) or _canonical(content) != raw:
            raise ValueError("its digest does not match its content")
        return _pack_of(content, hashlib.sha256(raw).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise damaged(path, f"its {MANIFEST}: {why}") from error


def _pack_of(content: Mapping[str, Any], digest: str) -> Pack:
    """The manifest from JSON. Raises KeyError, TypeError, ValueError or AttributeError for what no pack says."""
    space, head, licence = content["space"], content["head"], content["licence"]
    text = space["text"]
    members = {
        name: Member(_int(one["size"], 1 << 50), _hex(one["sha256"])) for name, one in content["members"].items()
    }
    if not _NEEDED <= members.keys() <= MEMBERS:
        raise ValueError(f"members are missing or unknown: {', '.join(sorted(members.keys() ^ _NEEDED))}")
    precision = Precision(content["precision"])
    if precision not in (Precision.FP32, Precision.BF16):
        raise ValueError(f"weights in {precision}")
    if _WEIGHTS.fullmatch(weights := _str(space["weights"])) is None:
        raise ValueError(f"{weights!r} does not identify weights")
    model = _str(content["model"])
    return Pack(
        model=model,
        space=Space(
            model,
            weights,
            _int(space["dim"], _MOST_DIM),
            _str(space["activation"]),
            preprocessing_of(space["preprocessing"]),
            TextContext(_str(text["tokenizer"]), _int(text["context_length"], _MOST_CONTEXT)),
            _str(space["images_of"]) if "images_of" in space else None,
        ),
        head=Head(ScoreHead(head["kind"]), _float(head["scale"], above=0.0), _float(head["bias"])),
        causal=_bool(content["causal"]),
        precision=precision,
        licence=None
        if licence is None
        else Licence(_str(licence["name"]), None if licence["source"] is None else _str(licence["source"])),
        made_by={_str(name): _str(version) for name, version in content["made_by"].items()},
        members=members,
        digest=digest,
    )


def preprocessing_of(content: Mapping[str, Any]) -> Preprocessing:
    """How images are prepared, from JSON. Raises KeyError, TypeError or ValueError for what is not known here."""
    height, width = content["size"]
    mean, std = (tuple(_float(value) for value in content[key]) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError("mean and std of three channels")
    if content["interpolation"] not in ("bicubic", "bilinear", "random"):
        raise ValueError(f"the interpolation {content['interpolation']!r}")
    if content["resize_mode"] not in RESIZE_MODES:
        raise ValueError(f"the resize mode {content['resize_mode']!r}")
    return Preprocessing(
        (_int(height, _MOST_SIDE), _int(width, _MOST_SIDE)),
        mean,
        std,
        content["interpolation"],
        content["resize_mode"],
        _int(content["fill_color"], 255, least=0),
    )


def _int(value: Any, most: int, *, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is not a whole number from {least} to {most}")
    return value


def _float(value: Any, *, above: float = -math.inf) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value <= above:
        raise ValueError(f"{value!r} is not a number, or too small")
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1000:
        raise ValueError(f"{str(value)[:50]!r} is not a line of text")
    return value


def _hex(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[0-9a-f]{64}", value) is None:
        raise ValueError(f"{str(value)[:70]!r} is not a sha256")
    return value


def _compare_sizes(path: Path, pack: Pack, sizes: Mapping[str, int]) -> None:
    """Raise WeightsUnavailableError unless the members are those of the manifest, in their sizes."""
    for name in sorted(pack.members.keys() | sizes.keys()):
        if name not in sizes:
            raise damaged(path, f"its member {name} is missing")
        if name not in pack.members:
            raise damaged(path, f"its member {name} is not in its {MANIFEST}")
        if sizes[name] != pack.members[name].size:
            raise damaged(path, f"its member {name} has {sizes[name]:,} bytes instead of {pack.members[name].size:,}")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> bytes:
    """JSON that ends with a digest of its content."""
    whole = {**content, "digest": _digest(content)}
    return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()
