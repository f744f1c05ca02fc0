"""Tar files, including shards of WebDataset."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from typing import IO, cast

from zsretrieve.domain.errors import ImageError, MissingImageError, SourceError
from zsretrieve.domain.text_files import encoding_of
from zsretrieve.domain.wording import one_line
from zsretrieve.images.archives import files
from zsretrieve.images.archives import members as names
from zsretrieve.images.content import is_image_name

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"(\xb5/\xfd": "unzstd"}
_LABEL_FORMS = ("cls", "json", "txt")  # the first of these gives the label
_LABEL_KEYS = ("label", "class_name", "cls", "class")
_HEADER_BYTES = 1 << 24
_BLOCK = 512
# What tarfile and the file raise if it is damaged, including errors of what they parse.
_DAMAGE = (tarfile.TarError, OSError, ValueError, LookupError, OverflowError, MemoryError, RecursionError)


class Tar:
    """The images of a tar file, in its order. Of members with the same name the last counts, as in unpacking.

    Raises
    ------
    SourceError
        If there is no such file, or it is not a tar file, or a compressed one.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._state = files.state(path)
        self._places: dict[str, tuple[int, int]] = {}
        self._refused: dict[str, str] = {}
        self._labels: dict[str, str | None] = {}
        self.damage: str | None = None
        self.label_problem: str | None = None
        self.repeated = 0
        with files.stream(path) as raw:
            self._refuse_compressed(raw)
            self._scan(raw)
        stems = {_stem(name) for name in self._places} if self._labels else set()
        # Keys with a dot in them rule out WebDataset's own reading, by which a key ends at the first dot.
        dotted = any("." in key.rpartition("/")[2] and key in stems for key in self._labels)
        # Then the name of another image is not a key of this one.
        self._taken = stems if dotted else frozenset()
        self._by_key = any(self._key(name) is not None for name in self._places)

    @property
    def mtime_ns(self) -> int:
        return self._state.mtime_ns

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The names of the images and their labels: from the file with the same key, or else from their folder."""
        for name in self._places:
            if not self._by_key:
                yield name, names.first_folder(name)
            else:
                key = self._key(name)
                yield name, None if key is None else self._labels[key]

    def size(self, member: str) -> int:
        return self._place(member)[1]

    def read(self, member: str) -> bytes:
        """The bytes of an image. Raises ImageError with the reason."""
        offset, size = self._place(member)
        names.check_size(size)
        data = files.pread(self._path, self._state, offset, size)
        if len(data) != size:
            raise ImageError("the archive is cut short")
        return data

    def _key(self, name: str) -> str | None:
        """The longest key of an image that has a label; None if none has."""
        folder, slash, last = name.rpartition("/")
        stem = last
        while "." in stem[1:]:
            stem = stem.rpartition(".")[0]
            key = f"{folder}{slash}{stem}"
            if key in self._labels:
                return None if key in self._taken and key != _stem(name) else key
        return None

    def _place(self, member: str) -> tuple[int, int]:
        if member in self._refused:
            raise ImageError(self._refused[member])
        if member not in self._places:
            # An archive that is cut short may have held it.
            kind = MissingImageError if self.damage is None else ImageError
            raise kind("no such member in the archive")
        return self._places[member]

    def _refuse_compressed(self, raw: IO[bytes]) -> None:
        start = raw.read(8)
        raw.seek(0)
        for magic, program in _COMPRESSED.items():
            if start.startswith(magic):
                raise SourceError(
                    f"'{self._path}' is compressed, so single images in it cannot be read",
                    hint=f"Uncompress it once with {program}; compression hardly makes images smaller.",
                )

    def _scan(self, raw: IO[bytes]) -> None:
        found: dict[str, tuple[int, str | None]] = {}
        try:
            with tarfile.open(
                fileobj=cast(IO[bytes], Headers(raw)), mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as tar:
                self._read_headers(tar, raw, found)
        except _DAMAGE as error:
            raise SourceError(f"'{self._path}' is not a tar file: {one_line(error)}", hint="Check the file.") from error
        self._labels = {key: label for key, (_, label) in found.items()}

    def _read_headers(self, tar: tarfile.TarFile, raw: IO[bytes], found: dict[str, tuple[int, str | None]]) -> None:
        count, reached = 0, -1
        while True:
            try:
                member = tar.next()
                if member is None:
                    raw.seek(tar.offset)
                    end = raw.read(_BLOCK)
                    if end.strip(b"\0") or len(end) < _BLOCK:
                        self.damage = f"cut short or damaged after {count} members"
                    return
                if member.size < 0 or tar.offset <= reached:
                    raise tarfile.ReadError("impossible sizes")
                reached = tar.offset
                tar.members = []  # type: ignore[attr-defined]  # it would keep every header
                if member.offset_data + (member.size if member.isreg() else 0) > self._state.bytes:
                    raise tarfile.ReadError("unexpected end of data")
                content = self._label_file(member, raw)
            except _DAMAGE:
                self.damage = f"cut short or damaged after {count} members"
                return
            # Not in the block above: a bad name or label is not damage of the archive.
            self._note(member, content, found)
            count += 1

    def _label_file(self, member: tarfile.TarInfo, raw: IO[bytes]) -> bytes | None:
        """The content of a label file; None for any other."""
        if _form(member.name) not in _LABEL_FORMS or not member.isreg() or member.issparse():
            return None
        if member.size > names.LABEL_LIMIT:
            return None
        raw.seek(member.offset_data)
        return raw.read(member.size)

    def _note(self, member: tarfile.TarInfo, content: bytes | None, found: dict[str, tuple[int, str | None]]) -> None:
        name = names.tidy(member.name)
        if member.isdir() or names.is_hidden(name):
            return
        if is_image_name(name):
            self._note_image(name, member)
            return
        if content is not None:
            form = _form(name)
            rank = _LABEL_FORMS.index(form)
            label = _label(form, content)
            best = found.get(_stem(name))
            if best is None or best[1] is None or (label is not None and rank <= best[0]):
                found[_stem(name)] = (rank, label)

    def _note_image(self, name: str, member: tarfile.TarInfo) -> None:
        self._refused.pop(name, None)
        self.repeated += name in self._places
        place = (member.offset_data, member.size)
        if member.islnk() and names.tidy(member.linkname) in self._places:
            # tar stores a file of several names once.
            place = self._places[names.tidy(member.linkname)]
        elif member.issparse():
            self._refused[name] = "a sparse member of a tar file"
        elif not member.isreg():
            self._refused[name] = "a link" if member.issym() or member.islnk() else "not a regular file"
        self._places[name] = place


class Headers:
    """A file for tarfile, which would read a header of any size into memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.seek = raw.seek
        self.tell = raw.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError("a header of impossible size")
        return self._raw.read(size)


def _stem(name: str) -> str:
    """A name without its suffix."""
    return name.rpartition(".")[0]


def _form(name: str) -> str:
    return os.path.splitext(name)[1].removeprefix(".").lower()


def _label(form: str, data: bytes) -> str | None:
    encoding, start = encoding_of(data)
    text = data[start:].decode(encoding, "surrogateescape" if encoding == "UTF-8" else "replace").strip()
    if form in ("cls", "txt"):
        return names.label(text)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = [content.get(key) for key in _LABEL_KEYS] if isinstance(content, dict) else []
    for value in values:
        if isinstance(value, str) and (label := names.label(value)) is not None:
            return label
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return names.label(f"#{value}")
    return None
