"""Texts to vectors, for a gallery of texts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Sequence

from zsretrieve.domain.boxes import Box
from zsretrieve.domain.ports import ImageEncoder, Known
from zsretrieve.domain.records import Item
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.domain.wording import counted
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import Batch, Seen, encode_batches, encode_texts_once
from zsretrieve.encoding.regions import TiledModel
from zsretrieve.encoding.units import units_of
from zsretrieve.images.sources import Source, SourceFile

_log = logging.getLogger("zsretrieve")

# Texts of one commit at least; within it those of similar length share a pass through the model.
_UNIT = 4096
_SHOWN = 60


def batches(
    source: Source,
    files: Sequence[SourceFile],
    model: Model,
    reading: Reading,
    known: Callable[[str], Known | None],
    boxes: tuple[Box, ...] = (),
    accept: Callable[[ImageEncoder], None] = lambda _: None,
) -> Generator[Batch]:
    """Encode the files of a source, with the regions in ``boxes``, or its texts; see ``encode_batches``.

    Of texts none is skipped here, and they have no regions.
    """
    if source.holds_texts:
        return _text_batches(files, model, known, accept)
    return encode_batches(source, files, TiledModel(model, boxes), reading, known, accept)


def digest_of(text: str) -> str:
    """What identifies a text: the sha256 of its UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _text_batches(
    files: Sequence[SourceFile],
    model: Model,
    known: Callable[[str], Known | None],
    accept: Callable[[ImageEncoder], None],
) -> Generator[Batch]:
    """Each unit of the listing is a batch, so that a resumed run encodes the same texts together."""
    done, cut = 0, dict[str, None]()
    for unit in units_of(files, _UNIT):
        items = [item_of_text(file) for file in unit]
        new = {item.digest: item.text or "" for item in items if known(item.digest) is None}
        vectors: dict[str, Vectors] = {}
        if new:
            encoder = model.load()
            accept(encoder)
            encoded = encode_texts_once(encoder, [list(new.values())])
            vectors = dict(zip(new, encoded.vectors, strict=True))
            cut |= dict.fromkeys(encoded.cut)
        fresh = set(vectors)
        seen = []
        for file, item in zip(unit, items, strict=True):
            vector = vectors.get(item.digest)
            if vector is None:
                before = known(item.digest)
                assert before is not None
                vector = before.vector
            seen.append(Seen(file, item, vector, fresh=item.digest in fresh))
            fresh.discard(item.digest)
        done += len(unit)
        yield Batch(tuple(seen), (), done)
    note_cut(list(cut))


def note_cut(texts: Sequence[str]) -> None:
    """Warn of texts that are longer than the context of the model, if there are any."""
    if texts:
        first = f"{texts[0][:_SHOWN]}{'...' if len(texts[0]) > _SHOWN else ''}"
        _log.warning(
            f"{counted(len(texts), 'text')} longer than the model reads: only the beginning counts; first: {first}"
        )


def item_of_text(file: SourceFile) -> Item:
    """The item that a text becomes, without its ID."""
    given = file.text
    assert given is not None
    return Item(
        id=0,
        path=file.path,
        label=file.label,
        width=0,
        height=0,
        bytes=len(given.text.encode()),
        mtime_ns=given.mtime_ns,
        digest=digest_of(given.text),
        text=given.text,
        image=given.image,
    )
