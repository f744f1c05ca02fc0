"""What a manifest names of an encoder, and the port for what encodes images in place of this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from zsretrieve.domain.ports import Encoder, Known
from zsretrieve.domain.records import Encoding, Head, Space
from zsretrieve.domain.settings import Reading
from zsretrieve.encoding.batches import Batch
from zsretrieve.images.sources import Source, SourceFile


class Described(Protocol):
    """What of an encoder a manifest names, see ``Encoder``."""

    @property
    def space(self) -> Space: ...

    @property
    def head(self) -> Head: ...

    @property
    def encoding(self) -> Encoding: ...


class TextSide:
    """An encoder as a gallery of texts names it: how it computes the vectors of texts."""

    def __init__(self, encoder: Encoder) -> None:
        self.space, self.head, self.encoding = encoder.space, encoder.head, encoder.text_encoding


class Elsewhere(Described, Protocol):
    """What encodes images in place of this process."""

    def batches(
        self, source: Source, files: Sequence[SourceFile], reading: Reading, known: Callable[[str], Known | None]
    ) -> Generator[Batch]:
        """As ``encode_batches``, whose batches it yields in the same order, but perhaps in other sizes."""
        ...

    def committed(self) -> None:
        """Called when everything that was yielded is on the disk."""
        ...

    def discard(self) -> None:
        """Called when the gallery is complete, while no other process may write it."""
        ...
