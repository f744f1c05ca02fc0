"""Images with odd names, and annotations of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.images import picture

import zsretrieve as zs

CLASSES = ("cat", "grey dog", 'a "b" & <c>', "cat")
BOXES = ((0.1, 0.2, 0.6, 0.9), (0.0, 0.0, 1.0, 1.0), (0.25, 0.5, 0.3, 0.55))
SIZES = ((80, 60), (64, 48), (30, 90), (20, 20))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images, two of them of the same name, and names that need quoting."""
    root = tmp_path / "photos"
    for name, size in zip(("a/1.jpg", "b/1.jpg", "b/1.png", "c & 'd'/50 %, #é.jpg"), SIZES, strict=True):
        picture(root / name, size)
    return root


@pytest.fixture
def classes(photos: Path) -> zs.Annotations:
    """Classes of whole images; the last one is rejected."""
    found = [
        zs.AnnotatedImage(str(path), *size, (zs.Annotation(number, 0.5 + number / 10),))
        for number, (path, size) in enumerate(zip(sorted(photos.rglob("*.*g")), SIZES, strict=True))
    ]
    found[-1] = zs.AnnotatedImage(found[-1].path, *SIZES[-1], rejected=True)
    return zs.Annotations(CLASSES, tuple(found), has_boxes=False, root=str(photos), model="demo")


@pytest.fixture
def boxes(classes: zs.Annotations) -> zs.Annotations:
    """Boxes: three in the first image, one in the second, none in the others."""
    first, second, *rest = classes.images
    three = tuple(zs.Annotation(number, 0.9 - number / 10, box) for number, box in enumerate(BOXES))
    images = (
        zs.AnnotatedImage(first.path, first.width, first.height, three),
        zs.AnnotatedImage(second.path, second.width, second.height, three[1:2]),
        *(zs.AnnotatedImage(one.path, one.width, one.height) for one in rest),
    )
    return zs.Annotations(CLASSES, images, has_boxes=True, root=str(photos_of(classes)), model="demo")


def photos_of(annotations: zs.Annotations) -> Path:
    return Path(annotations.root)
