"""Labelled images generated from a seed: shapes, colours, fills, sizes, backgrounds and relations.

A scene is drawn from its description alone, so the same seed gives the same images on every run. A fifth of the
colour-shape compositions is held out of the bundled model's training, so classifying them is truly zero-shot.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from zsretrieve.domain.boxes import Box

Rgb = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Rgb] = {
    "red": (214, 32, 36),
    "orange": (247, 134, 20),
    "yellow": (250, 222, 40),
    "green": (36, 150, 58),
    "cyan": (50, 208, 220),
    "blue": (34, 72, 206),
    "purple": (126, 44, 168),
    "pink": (250, 138, 190),
    "brown": (118, 68, 32),
    "black": (20, 20, 22),
    "white": (250, 250, 250),
    "grey": (134, 136, 140),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "arrow", "crescent", "bolt")
FILLS = ("solid", "striped", "dotted", "outlined")
SIZES: dict[str, float] = {"small": 0.21, "medium": 0.27, "large": 0.37}
BACKGROUNDS: dict[str, Rgb] = {
    "paper": (238, 234, 224),
    "sand": (222, 196, 148),
    "grass": (134, 186, 96),
    "sky": (160, 204, 240),
    "night": (26, 30, 62),
    "brick": (172, 92, 74),
    "wood": (170, 126, 84),
    "checkerboard": (196, 198, 202),
}
RELATIONS = ("above", "left of")

_SIZE = 128
_SUPERSAMPLING = 2
_MIN_CONTRAST = 105.0


@dataclass(frozen=True)
class Thing:
    """One object of a scene."""

    shape: str
    colour: str
    fill: str
    size: str

    @property
    def class_name(self) -> str:
        return f"{self.colour} {self.shape}"

    def phrase(self, *, with_size: bool = True, with_fill: bool = True) -> str:
        words = [self.size] if with_size else []
        if with_fill and self.fill != "solid":
            words.append(self.fill)
        return " ".join([*words, self.colour, self.shape])


@dataclass(frozen=True)
class Scene:
    """What an image shows. ``relation`` is None for a single object; ``seed`` fixes every remaining detail."""

    things: tuple[Thing, ...]
    background: str
    relation: str | None
    seed: int

    @property
    def class_name(self) -> str:
        """Colour and shape of the first object, e.g. ``red circle``."""
        return self.things[0].class_name

    @property
    def caption(self) -> str:
        first = f"a {self.things[0].phrase()}"
        if self.relation is not None:
            first = f"{first} {self.relation} a {self.things[1].phrase()}"
        return f"{first} on a {self.background} background"

    def shows(self, class_name: str) -> bool:
        return any(thing.class_name == class_name for thing in self.things)


def class_names() -> list[str]:
    """The 120 single-object classes, colour by colour."""
    return [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]


def unseen_class_names() -> list[str]:
    """The 24 classes that training never shows: two shapes of every colour, two or three colours of every shape."""
    colours = list(COLOURS)
    return [
        f"{colour} {shape}"
        for c, colour in enumerate(colours)
        for s, shape in enumerate(SHAPES)
        if (2 * c + s) % 5 == 0
    ]


def single(class_name: str, rng: random.Random) -> Scene:
    """One object of the named class; fill, size, place and background are drawn from ``rng``."""
    colour, shape = class_name.split(" ")
    thing = Thing(shape, colour, rng.choice(FILLS), rng.choice(list(SIZES)))
    return Scene((thing,), _background_for((colour,), rng), None, rng.getrandbits(32))


def pair(first: str, second: str, rng: random.Random) -> Scene:
    """Two objects of the named classes, the first above or left of the second."""
    things = []
    for class_name in (first, second):
        colour, shape = class_name.split(" ")
        things.append(Thing(shape, colour, rng.choice(FILLS), rng.choice(["small", "medium"])))
    background = _background_for((things[0].colour, things[1].colour), rng)
    return Scene(tuple(things), background, rng.choice(RELATIONS), rng.getrandbits(32))


def draw(scene: Scene, size: int = _SIZE) -> Image.Image:
    """Draw the image of a scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Width and height in pixels.

    Returns
    -------
    PIL.Image.Image
        RGB, ``size`` x ``size``.
    """
    rng = random.Random(scene.seed)
    image = _background(scene.background, size, rng)
    for thing, centre, radius in _placed(scene, size, rng):
        mask = _mask(thing, centre, radius, size, rng)
        image.paste(_jitter(COLOURS[thing.colour], rng, 10), mask=mask)
    blur = rng.choice([0.0, 0.0, 0.4, 0.8]) * size / 128
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    sigma = rng.choice([0.0, 4.0, 8.0, 12.0])
    if sigma:
        noise = np.random.default_rng(scene.seed).normal(0.0, sigma, (size, size, 1))
        noisy = np.clip(np.asarray(image, dtype=np.float64) + noise, 0, 255)
        image = Image.fromarray(noisy.astype(np.uint8))
    return image


def boxes(scene: Scene, size: int = _SIZE) -> list[Box]:
    """The squares around the objects of a scene as ``draw`` draws it in this size."""
    rng = random.Random(scene.seed)
    _background(scene.background, size, rng)
    return [
        ((x - radius) / size, (y - radius) / size, (x + radius) / size, (y + radius) / size)
        for _, (x, y), radius in _placed(scene, size, rng)
    ]


def cluttered(image: Image.Image, seed: int, *, pieces: int, noise: float) -> Image.Image:
    """Make a scene hard: small pieces of other shapes and colours all over it, and noise.

    Parameters
    ----------
    image : PIL.Image.Image
        Square, RGB.
    seed : int
    pieces : int
    noise : float
        The standard deviation of the noise, of 255.
    """
    rng, size = random.Random(seed), image.width
    image = image.copy()
    for _ in range(pieces):
        thing = Thing(rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.choice(FILLS), "small")
        centre, radius = (rng.uniform(0, size), rng.uniform(0, size)), rng.uniform(0.05, 0.11) * size
        image.paste(_jitter(COLOURS[thing.colour], rng, 10), mask=_mask(thing, centre, radius, size, rng))
    noisy = np.asarray(image, dtype=np.float64) + np.random.default_rng(seed).normal(0.0, noise, (size, size, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _background_for(colours: tuple[str, ...], rng: random.Random) -> str:
    fitting = [
        name
        for name, rgb in BACKGROUNDS.items()
        if all(math.dist(rgb, COLOURS[colour]) >= _MIN_CONTRAST for colour in colours)
    ]
    return rng.choice(fitting or list(BACKGROUNDS))


def _jitter(rgb: Rgb, rng: random.Random, amount: int) -> Rgb:
    red, green, blue = (min(255, max(0, value + rng.randint(-amount, amount))) for value in rgb)
    return red, green, blue


def _placed(scene: Scene, size: int, rng: random.Random) -> list[tuple[Thing, Point, float]]:
    if scene.relation is None:
        thing = scene.things[0]
        radius = SIZES[thing.size] * size * rng.uniform(0.92, 1.08)
        room = max(0.0, size / 2 - radius - 2)
        return [(thing, (size / 2 + rng.uniform(-room, room), size / 2 + rng.uniform(-room, room)), radius)]
    placed = []
    for thing, middle in zip(scene.things, (0.27, 0.73), strict=True):
        radius = min(SIZES[thing.size] * 0.85, 0.22) * size
        along = (middle + rng.uniform(-0.03, 0.03)) * size
        across = (0.5 + rng.uniform(-0.16, 0.16)) * size
        placed.append((thing, (across, along) if scene.relation == "above" else (along, across), radius))
    return placed


def _background(name: str, size: int, rng: random.Random) -> Image.Image:
    base = _jitter(BACKGROUNDS[name], rng, 8)
    dark: Rgb = (int(base[0] * 0.86), int(base[1] * 0.86), int(base[2] * 0.86))
    image = Image.new("RGB", (size, size), base)
    pen = ImageDraw.Draw(image)
    step = max(4, size // 8)
    match name:
        case "sky":
            for y in range(size):
                shade = 1.0 - 0.22 * y / size
                pen.line((0, y, size, y), fill=(int(base[0] * shade), int(base[1] * shade), base[2]))
        case "night":
            for _ in range(14):
                x, y = rng.randrange(size), rng.randrange(size)
                pen.ellipse((x, y, x + size // 64, y + size // 64), fill=(200, 200, 170))
        case "brick":
            for row, y in enumerate(range(0, size, step)):
                pen.line((0, y, size, y), fill=dark, width=2)
                for x in range((row % 2) * step, size, 2 * step):
                    pen.line((x, y, x, y + step), fill=dark, width=2)
        case "wood":
            for y in range(0, size, step // 2):
                pen.line((0, y, size, y + rng.randint(-3, 3)), fill=dark, width=1)
        case "checkerboard":
            for y in range(0, size, step):
                for x in range((y // step % 2) * step, size, 2 * step):
                    pen.rectangle((x, y, x + step - 1, y + step - 1), fill=dark)
        case "grass":
            for _ in range(60):
                x, y = rng.randrange(size), rng.randrange(size)
                pen.line((x, y, x + rng.randint(-2, 2), y - size // 16), fill=dark)
        case "sand":
            for _ in range(80):
                x, y = rng.randrange(size), rng.randrange(size)
                pen.point((x, y), fill=dark)
        case _:
            pass
    return image


def _mask(thing: Thing, centre: Point, radius: float, size: int, rng: random.Random) -> Image.Image:
    scale = _SUPERSAMPLING
    mask = Image.new("L", (size * scale, size * scale), 0)
    pen = ImageDraw.Draw(mask)
    x, y = centre[0] * scale, centre[1] * scale
    reach = radius * scale
    tilt = rng.uniform(-0.2, 0.2)
    _fill_shape(pen, thing.shape, (x, y), reach, tilt, 255)
    match thing.fill:
        case "outlined":
            _fill_shape(pen, thing.shape, _inner_centre(thing.shape, (x, y), reach, tilt), reach * 0.66, tilt, 0)
        case "striped":
            step = max(6.0, reach * 0.36)
            at = y - reach * 1.5
            while at < y + reach * 1.5:
                pen.rectangle((0, at, size * scale, at + step * 0.4), fill=0)
                at += step
        case "dotted":
            step, hole = max(7.0, reach * 0.42), max(2.0, reach * 0.115)
            for row in range(-4, 5):
                for column in range(-4, 5):
                    cx, cy = x + (column + row % 2 / 2) * step, y + row * step * 0.87
                    pen.ellipse((cx - hole, cy - hole, cx + hole, cy + hole), fill=0)
        case _:
            pass
    return mask.reduce(scale)


def _inner_centre(shape: str, centre: Point, reach: float, tilt: float) -> Point:
    """Where a shape shrunk to two thirds sits evenly within the full one."""
    down = {"triangle": 0.1, "heart": -0.03}.get(shape, 0.0) * reach
    right = {"arrow": 0.04, "crescent": -0.12}.get(shape, 0.0) * reach
    return (
        centre[0] + right * math.cos(tilt) - down * math.sin(tilt),
        centre[1] + right * math.sin(tilt) + down * math.cos(tilt),
    )


def _fill_shape(pen: ImageDraw.ImageDraw, shape: str, centre: Point, reach: float, tilt: float, value: int) -> None:
    x, y = centre
    if shape == "circle":
        pen.ellipse((x - reach * 0.9, y - reach * 0.9, x + reach * 0.9, y + reach * 0.9), fill=value)
        return
    cos, sin = math.cos(tilt), math.sin(tilt)
    pen.polygon(
        [(x + reach * (u * cos - v * sin), y + reach * (u * sin + v * cos)) for u, v in _OUTLINES[shape]], fill=value
    )


def _star() -> list[Point]:
    points = []
    for i in range(10):
        radius, angle = (1.0 if i % 2 == 0 else 0.42), math.pi * (i / 5 - 0.5)
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


def _heart() -> list[Point]:
    points = []
    for i in range(40):
        t = 2 * math.pi * i / 40
        down = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((math.sin(t) ** 3, -down / 16))
    return points


def _crescent() -> list[Point]:
    outer = [(math.cos(a), math.sin(a)) for a in np.linspace(math.radians(50), math.radians(310), 30)]
    first, last = outer[0], outer[-1]
    centre, radius = (0.62, 0.0), math.dist((0.62, 0.0), first)
    start = math.atan2(last[1] - centre[1], last[0] - centre[0]) % (2 * math.pi)
    end = math.atan2(first[1] - centre[1], first[0] - centre[0]) % (2 * math.pi)
    inner = [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in np.linspace(start, end, 24)]
    return [(u + 0.15, v) for u, v in outer + inner]


_OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": [(0.0, -0.95), (0.95, 0.75), (-0.95, 0.75)],
    "star": _star(),
    "heart": _heart(),
    "cross": [
        (-0.3, -0.9), (0.3, -0.9), (0.3, -0.3), (0.9, -0.3), (0.9, 0.3), (0.3, 0.3),
        (0.3, 0.9), (-0.3, 0.9), (-0.3, 0.3), (-0.9, 0.3), (-0.9, -0.3), (-0.3, -0.3),
    ],
    "diamond": [(0.0, -1.0), (0.68, 0.0), (0.0, 1.0), (-0.68, 0.0)],
    "arrow": [
        (-0.95, -0.26), (0.1, -0.26), (0.1, -0.72), (0.98, 0.0), (0.1, 0.72), (0.1, 0.26), (-0.95, 0.26),
    ],
    "crescent": _crescent(),
    "bolt": [(0.2, -1.0), (-0.6, 0.15), (-0.08, 0.15), (-0.3, 1.0), (0.6, -0.25), (0.08, -0.25), (0.5, -1.0)],
}  # fmt: skip
