"""Building a gallery whose images something else encodes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

from zsretrieve.backends.loading import index_backend
from zsretrieve.domain.errors import IndexBusyError
from zsretrieve.domain.ports import Known
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import Batch, encode_batches
from zsretrieve.gallery.build import build_gallery
from zsretrieve.gallery.ingest import Ingest
from zsretrieve.images import sources
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.store import folder


class Elsewhere:
    """Encodes here; what it has stored is discarded while nobody else may write the folder ``out``."""

    def __init__(self, out: Path) -> None:
        encoder = HashingEncoder()
        self.space, self.head, self.encoding = encoder.space, encoder.head, encoder.encoding
        self._model = Model.of(encoder)
        self._out = out
        self.discarded = 0

    def batches(
        self, source: Source, files: Sequence[SourceFile], reading: Reading, known: Callable[[str], Known | None]
    ) -> Generator[Batch]:
        return encode_batches(source, files, self._model, reading, known)

    def committed(self) -> None:
        pass

    def discard(self) -> None:
        with pytest.raises(IndexBusyError), folder.writing(self._out):
            pass
        self.discarded += 1


def test_what_was_stored_is_discarded_while_the_folder_is_locked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    elsewhere = Elsewhere(out)
    how = Ingest(Model("demo"), index_backend("cpu"), Reading(), elsewhere=elsewhere)
    gallery = build_gallery(out, sources.folder(pictures(tmp_path / "photos", 3)), how)
    assert (len(gallery.items), elsewhere.discarded) == (3, 1)
