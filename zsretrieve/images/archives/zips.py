"""Zip files."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from zsretrieve.domain.errors import ImageError, MissingImageError, SourceError
from zsretrieve.domain.wording import one_line
from zsretrieve.images.archives import files
from zsretrieve.images.archives import members as names
from zsretrieve.images.content import is_image_name

_UTF8 = 0x800
_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LIKELY_NAMES = 512


class Zip:
    """The images of a zip file, sorted by name like those of a folder.

    Raises
    ------
    SourceError
        If there is no such file, or it is not a zip file.
    """

    damage: str | None = None
    label_problem: str | None = None

    def __init__(self, path: str) -> None:
        self.repeated = 0
        self._path = path
        self._state = files.state(path)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            with files.stream(path) as raw, zipfile.ZipFile(raw) as content:
                for info in content.infolist():
                    name = names.tidy(_name(info))
                    if not info.is_dir() and is_image_name(name) and not names.is_hidden(name):
                        self.repeated += name in self._infos
                        self._infos[name] = info
        except (zipfile.BadZipFile, OSError, ValueError, OverflowError, NotImplementedError, struct.error) as error:
            raise SourceError(
                f"'{path}' is not a zip file, or is cut short: {one_line(error)}",
                hint="Check the file, and download it again if it was.",
            ) from error

    @property
    def mtime_ns(self) -> int:
        return self._state.mtime_ns

    def members(self) -> Iterator[tuple[str, str | None]]:
        """The names of the images and their labels: the first folder."""
        for name in sorted(self._infos, key=lambda n: n.split("/")):
            yield name, names.first_folder(name)

    def size(self, member: str) -> int:
        return self._info(member).file_size

    def read(self, member: str) -> bytes:
        """The bytes of an image. Raises ImageError with the reason."""
        info = self._info(member)
        if info.flag_bits & _ENCRYPTED:
            raise ImageError("encrypted")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ImageError("a link")
        names.check_size(max(info.file_size, info.compress_size))
        stored = self._stored(info)
        if info.compress_type == zipfile.ZIP_STORED:
            data = stored
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, info.file_size + 1)
            except zlib.error as error:
                raise ImageError(f"damaged in the archive: {error}") from error
        else:
            raise ImageError(f"compressed by an unknown method: {info.compress_type}")
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise ImageError("damaged in the archive: its checksum does not match")
        return data

    def _info(self, member: str) -> zipfile.ZipInfo:
        if member not in self._infos:
            raise MissingImageError("no such member in the archive")
        return self._infos[member]

    def _stored(self, info: zipfile.ZipInfo) -> bytes:
        """The stored bytes of a member, with one read if the names before them are short."""
        most = _LOCAL_HEADER.size + _LIKELY_NAMES + info.compress_size
        data = files.pread(self._path, self._state, info.header_offset, most)
        if len(data) < _LOCAL_HEADER.size or not data.startswith(b"PK\3\4"):
            raise ImageError("damaged in the archive: no header")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data)
        start = _LOCAL_HEADER.size + name_bytes + extra_bytes
        if start + info.compress_size > most:
            return files.pread(self._path, self._state, info.header_offset + start, info.compress_size)
        return data[start : start + info.compress_size]


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name; many programs write UTF-8 without saying so."""
    if not info.flag_bits & _UTF8:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return info.filename
