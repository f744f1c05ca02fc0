"""Captions of the generated scenes, as people write them, for training."""

from __future__ import annotations

import random
from collections.abc import Sequence

from zsretrieve.demo import scenes
from zsretrieve.demo.scenes import Scene

# What a caption may look like, with its share. Bare labels do not occur: on the web, too, they are rare.
_SENTENCES = {
    "a photo of {}.": 14,
    "a picture of {}.": 14,
    "a photo showing {}": 8,
    "{}": 12,
    "{}.": 8,
    "an image of {}": 10,
    "a drawing of {}.": 8,
    "a small picture of {}": 6,
    "there is {} here": 6,
    "a blurry photo of {}.": 5,
    "a clean photo of {}.": 5,
    "look at {}!": 4,
}
_ONE_OF_TWO_SHARE = 0.4


def random_scene(rng: random.Random, names: Sequence[str]) -> Scene:
    """A scene of one object or two, of the classes ``names``."""
    if rng.random() < 0.6:
        return scenes.single(rng.choice(names), rng)
    return scenes.pair(rng.choice(names), rng.choice(names), rng)


def random_caption(scene: Scene, rng: random.Random) -> str:
    """A true caption: any detail may go unsaid, even one of two objects, so every level is learned."""
    phrases = [f"a {t.phrase(with_size=rng.random() < 0.35, with_fill=rng.random() < 0.4)}" for t in scene.things]
    if scene.relation is None:
        text = phrases[0]
    elif rng.random() < _ONE_OF_TWO_SHARE:
        text = rng.choice(phrases)
    else:
        text = (f" {scene.relation} " if rng.random() < 0.8 else " and ").join(phrases)
    if rng.random() < 0.3:
        text += f" on a {scene.background} background"
    return rng.choices(list(_SENTENCES), list(_SENTENCES.values()))[0].format(text)
