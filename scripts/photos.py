"""Photos for benchmarks: JPEG files of the sizes and the weight that ImageNet's photos have, drawn from a seed."""

from __future__ import annotations

import concurrent.futures
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# How many of a hundred photos have which size; the mean is 466 x 391.
_SIZES = {(500, 375): 52, (500, 333): 20, (375, 500): 12, (333, 500): 7, (500, 500): 5, (320, 240): 4}
# Most of ImageNet's are of this quality, with colour at full resolution.
_QUALITY = 96
_FOLDERS = 10


def generated_photos(folder: Path, count: int, seed: int = 0) -> Path:
    """Write photos as ``folder/class-N/NUMBER.jpg``, unless they are there already.

    Each is a landscape of soft shapes with texture of every fineness, so that decoding, resizing and the size of the
    files cost what real photos cost: about 110 kB and 1.2 ms each.

    Parameters
    ----------
    folder : Path
    count : int
    seed : int
        Photo n of a seed is the same however many are asked for.
    """
    missing = [number for number in range(count) if not _place(folder, number).exists()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: _write(folder, number, seed), missing))
    return folder


def _place(folder: Path, number: int) -> Path:
    return folder / f"class-{number % _FOLDERS}" / f"{number:06}.jpg"


def _write(folder: Path, number: int, seed: int) -> None:
    width, height = random.Random(f"{seed} {number}").choices(list(_SIZES), list(_SIZES.values()))[0]
    rng = np.random.default_rng([seed, number])
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    cells, strength = 3, 90.0
    while cells < 2 * max(width, height):
        pixels += strength * _blurred_noise(rng, width, height, cells)
        cells, strength = 2 * cells, 0.63 * strength
    # A few hard edges, as objects have.
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    for _ in range(4):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(20, 120)
        inside = ((across - x) / size) ** 2 + ((down - y) / (size * rng.uniform(0.4, 1.6))) ** 2 < 1
        pixels[inside] = 0.5 * pixels[inside] + rng.uniform(-90, 90, 3).astype(np.float32)
    image = Image.fromarray(np.clip(pixels + 120, 0, 255).astype(np.uint8))
    place = _place(folder, number)
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(".beside")
    image.save(beside, "JPEG", quality=_QUALITY, subsampling=0)
    beside.rename(place)


def _blurred_noise(rng: np.random.Generator, width: int, height: int, cells: int) -> NDArray[np.float32]:
    """Noise of a coarseness: mostly grey, with some colour."""
    shape = (min(cells, height), min(cells, width))
    grey = rng.standard_normal((*shape, 1), dtype=np.float32)
    colour = rng.standard_normal((*shape, 3), dtype=np.float32)
    layers = np.moveaxis(grey + 0.4 * colour, -1, 0)
    large = [Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC) for layer in layers]
    return np.stack([np.asarray(layer) for layer in large], axis=-1)
