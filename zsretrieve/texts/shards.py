"""The captions in WebDataset shards: ``KEY.txt``, or ``KEY.json`` with one in it, beside the image ``KEY.jpg``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import IO, Any, cast

from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.text_files import encoding_of
from zsretrieve.domain.wording import one_line
from zsretrieve.images.addresses import MEMBER
from zsretrieve.images.archives import files, members
from zsretrieve.images.archives.tar import Headers
from zsretrieve.images.content import is_image_name
from zsretrieve.texts.records import Columns, Row, Wanted

_DAMAGE = (tarfile.TarError, OSError, ValueError, OverflowError, EOFError)


def rows_of(name: str, wanted: Wanted) -> tuple[Columns, Iterator[Row | Skipped]]:
    """The captions of a shard and their images, in its order; ``KEY.txt`` counts before ``KEY.json``.

    Raises
    ------
    SourceError
        If it cannot be read, is compressed, or a column is named and no ``KEY.json`` has it.
    UsageError
        If a split, or a column of images, is named.
    """
    if wanted.image is not None or wanted.split is not None:
        given = "image_column" if wanted.image is not None else "split"
        raise UsageError(f"shards such as '{name}' have no `{given}`", hint="Leave it out; name the shards you want.")
    captions: dict[str, tuple[str, Any]] = {}
    images: dict[str, str] = {}
    damage: list[Skipped] = []
    with files.stream(name) as raw:
        try:
            with tarfile.open(fileobj=cast(IO[bytes], Headers(raw)), mode="r:", errors="surrogateescape") as tar:
                _scan(tar, wanted, captions, images)
        except _DAMAGE as error:
            if not captions:
                raise SourceError(
                    f"'{name}' cannot be read as a tar file: {one_line(error)}",
                    hint="Check the file; a compressed one must be uncompressed.",
                ) from error
            damage.append(Skipped("", f"cut short or damaged after {len(captions)} captions"))
    if wanted.text is not None and not any(
        value is not None and not isinstance(value, Skipped) for _, value in captions.values()
    ):
        raise SourceError(f"no .json file in '{name}' has the key '{wanted.text}'", hint="Check `column`.")

    def rows() -> Iterator[Row | Skipped]:
        for key, (member, value) in captions.items():
            if isinstance(value, Skipped):
                yield Skipped(member, value.reason)
            else:
                image = images.get(key)
                yield Row(member, {"text": value, "image": None if image is None else f"{name}{MEMBER}{image}"})
        yield from damage

    return Columns("text", ("image",), None), rows()


def _scan(tar: tarfile.TarFile, wanted: Wanted, captions: dict[str, tuple[str, Any]], images: dict[str, str]) -> None:
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        name = members.tidy(member.name)
        folder, slash, last = name.rpartition("/")
        stem, _, form = last.partition(".")
        key = f"{folder}{slash}{stem}"
        if not member.isreg() or members.is_hidden(name):
            continue
        if is_image_name(name):
            images.setdefault(key, name)
        elif form.lower() in ("txt", "json") and not (form.lower() == "json" and key in captions):
            if wanted.text is not None and form.lower() == "txt":
                continue
            captions[key] = (name, _caption(tar, member, wanted, form.lower()))


def _caption(tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: Wanted, form: str) -> Any:
    """What a file says: a text, None for JSON without a caption, or why it cannot be used."""
    opened = tar.extractfile(member)
    if opened is None or member.size > members.LABEL_LIMIT:
        return Skipped(member.name, f"{member.size} bytes are too many for a caption")
    data = opened.read()
    encoding, start = encoding_of(data)
    text = data[start:].decode(encoding, "surrogateescape" if encoding == "UTF-8" else "replace")
    if form == "txt":
        return text
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return Skipped(member.name, "not valid JSON")
    if not isinstance(content, dict):
        return Skipped(member.name, "not a JSON object")
    if wanted.text is not None:
        return content.get(wanted.text)
    return next((content[name] for name in ("caption", "text", "txt") if name in content), None)
