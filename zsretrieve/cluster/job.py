"""What is encoded on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import Model
from zsretrieve.images.sources import Source


@dataclass(frozen=True)
class Job:
    """What is encoded: a source, into an index folder, with a model and a way of reading."""

    source: Source
    out: Path
    model: Model
    reading: Reading
