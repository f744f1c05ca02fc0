from __future__ import annotations

import pytest

from zsretrieve.domain.kinds import automatic


@pytest.mark.parametrize(
    ("count", "dim", "kind"),
    [
        (0, 512, "Flat"),
        (200_000, 512, "Flat"),
        (200_001, 512, "IVF1024,PQ256x4fsr"),
        (1_000_000, 768, "IVF2048,PQ384x4fsr"),
        (10_000_000, 77, "IVF8192,PQ77x4fsr"),
    ],
)
def test_the_kind_follows_from_the_number_of_images(count: int, dim: int, kind: str) -> None:
    assert automatic(count, dim) == kind
