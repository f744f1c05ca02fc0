"""Tar files, among them the shards of WebDataset."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import IO, cast

from zsretrieve.archives import files, names
from zsretrieve.errors import ImageError, MissingImageError, SourceError
from zsretrieve.images import is_image_name

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"(\xb5/\xfd": "unzstd"}
_LABEL_FORMS = ("cls", "json", "txt")  # the first that is there gives the label
_LABEL_KEYS = ("label", "class_name", "cls", "class")
_HEADER_BYTES = 1 << 24
_BLOCK = 512
# What tarfile and the file behind it raise at damage, their own errors and those of what they parse.
_DAMAGE = (tarfile.TarError, OSError, ValueError, LookupError, OverflowError, MemoryError, RecursionError)


class Tar:
    """The pictures of a tar file, in its order. Of members of one name the last counts, as when it is unpacked.

    Raises
    ------
    SourceError
        If there is no such file, or it is no tar file, or a compressed one.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._state = files.state(path)
        self._places: dict[str, tuple[int, int]] = {}
        self._refused: dict[str, str] = {}
        self._labels: dict[str, str | None] = {}
        self.damage: str | None = None
        with files.stream(path) as raw:
            self._refuse_compressed(raw)
            self._scan(raw)
        self._by_key = any(_key(name) in self._labels for name in self._places)

    @property
    def mtime_ns(self) -> int:
        return self._state.mtime_ns

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The names of the pictures and their labels: what lies beside them under their key, or else their folder."""
        for name in self._places:
            yield name, self._labels.get(_key(name)) if self._by_key else names.first_folder(name)

    def size(self, member: str) -> int:
        return self._place(member)[1]

    def read(self, member: str) -> bytes:
        """The bytes of a picture. Raises ImageError with the reason."""
        offset, size = self._place(member)
        names.check_size(size)
        data = files.pread(self._path, self._state, offset, size)
        if len(data) != size:
            raise ImageError("the archive is cut short")
        return data

    def _place(self, member: str) -> tuple[int, int]:
        if member in self._refused:
            raise ImageError(self._refused[member])
        if member not in self._places:
            # One that is cut short may have held it.
            kind = MissingImageError if self.damage is None else ImageError
            raise kind("no such member in the archive")
        return self._places[member]

    def _refuse_compressed(self, raw: IO[bytes]) -> None:
        start = raw.read(8)
        raw.seek(0)
        for magic, program in _COMPRESSED.items():
            if start.startswith(magic):
                raise SourceError(
                    f"'{self._path}' is compressed, so single pictures of it cannot be read",
                    hint=f"Uncompress it once with {program}; pictures are hardly smaller in it.",
                )

    def _scan(self, raw: IO[bytes]) -> None:
        found: dict[str, tuple[int, str | None]] = {}
        try:
            with tarfile.open(
                fileobj=cast(IO[bytes], _Headers(raw)), mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as tar:  # fmt: skip
                self._read_headers(tar, raw, found)
        except _DAMAGE as error:
            raise SourceError(
                f"'{self._path}' is not a tar file: {' '.join(str(error).split())}", hint="Check the file."
            ) from error
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
                    raise tarfile.ReadError("sizes that cannot be")
                reached = tar.offset
                tar.members = []  # type: ignore[attr-defined]  # it would keep every header
                if member.offset_data + (member.size if member.isreg() else 0) > self._state.bytes:
                    raise tarfile.ReadError("unexpected end of data")
                content = self._label_file(member, raw)
            except _DAMAGE:
                self.damage = f"cut short or damaged after {count} members"
                return
            # Not within the above: what is wrong with a name or a label is no damage of the archive.
            self._note(member, content, found)
            count += 1

    def _label_file(self, member: tarfile.TarInfo, raw: IO[bytes]) -> bytes | None:
        """The content of a file that tells a label; None for another."""
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
            self._note_picture(name, member)
            return
        if content is not None:
            form = _form(name)
            rank = _LABEL_FORMS.index(form)
            label = _label(form, content)
            best = found.get(_key(name))
            if best is None or best[1] is None or (label is not None and rank <= best[0]):
                found[_key(name)] = (rank, label)

    def _note_picture(self, name: str, member: tarfile.TarInfo) -> None:
        self._refused.pop(name, None)
        place = (member.offset_data, member.size)
        if member.islnk() and names.tidy(member.linkname) in self._places:
            # tar stores a file of several names once.
            place = self._places[names.tidy(member.linkname)]
        elif member.issparse():
            self._refused[name] = "a sparse member of a tar file"
        elif not member.isreg():
            self._refused[name] = "a link" if member.issym() or member.islnk() else "not a regular file"
        self._places[name] = place


class _Headers:
    """A file as tarfile reads it, which would read a header of any size into memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.seek = raw.seek
        self.tell = raw.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError("a header of impossible size")
        return self._raw.read(size)


def _key(name: str) -> str:
    """WebDataset's key: the name up to the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _form(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _label(form: str, data: bytes) -> str | None:
    text = data.decode("utf-8-sig", "surrogateescape").strip()
    if form in ("cls", "txt"):
        return names.label(text, numbers=form == "cls")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = [content.get(key) for key in _LABEL_KEYS] if isinstance(content, dict) else []
    for value in values:
        if isinstance(value, str) and (label := names.label(value)) is not None:
            return label
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return names.label(f"#{value}")
    return None
