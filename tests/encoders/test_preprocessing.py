from __future__ import annotations

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from zsretrieve.domain.errors import ImageError
from zsretrieve.domain.records import Preprocessing
from zsretrieve.encoders.preprocessing import prepare
from zsretrieve.images.decoding import resized_size

MODES = ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "YCbCr", "HSV", "LAB"]


def theirs(preprocessing: Preprocessing) -> Compose:
    """open_clip's own preprocessing."""
    config = open_clip.transform.PreprocessCfg(
        size=preprocessing.size, mean=preprocessing.mean, std=preprocessing.std, fill_color=preprocessing.fill_color,
        interpolation=preprocessing.interpolation, resize_mode=preprocessing.resize_mode,
    )  # fmt: skip
    return open_clip.transform.image_transform_v2(config, is_train=False)


def uint8_of(transform: Compose, image: Image.Image) -> np.ndarray:
    """What it makes of a picture before the pixels become numbers from 0 to 1."""
    kept = [step for step in transform.transforms if not isinstance(step, ToTensor | Normalize)]
    return np.asarray(Compose(kept)(image))


def noise(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, size[::-1], dtype=np.uint8)))
    if mode in ("YCbCr", "HSV", "LAB"):
        return Image.merge(mode, image.split())
    return image.convert(mode)


def preprocessings() -> st.SearchStrategy[Preprocessing]:
    side = st.integers(1, 40)
    return st.builds(
        Preprocessing,
        size=st.one_of(side.map(lambda n: (n, n)), st.tuples(side, side)),
        mean=st.just((0.48145466, 0.4578275, 0.40821073)),
        std=st.just((0.26862954, 0.26130258, 0.27577711)),
        interpolation=st.sampled_from(["bicubic", "bilinear"]),
        resize_mode=st.sampled_from(["shortest", "longest", "squash"]),
        fill_color=st.sampled_from([0, 127]),
    )


@settings(max_examples=400, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.sampled_from(MODES), preprocessings(), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_equals_open_clip_bit_by_bit(
    width: int, height: int, mode: str, preprocessing: Preprocessing, seed: int
) -> None:
    image = noise((width, height), mode, seed)
    try:
        expected = uint8_of(theirs(preprocessing), image)
    except ValueError:  # nothing is left of the shorter side
        with pytest.raises(ValueError, match="height and width must be > 0"):
            prepare(image, preprocessing)
        return
    ours = prepare(image, preprocessing)
    assert (ours.dtype, ours.shape) == (np.uint8, (*preprocessing.size, 3))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (466, 388), (90, 700), (2048, 1365)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_equals_open_clip_at_real_sizes(size: tuple[int, int], mode: str) -> None:
    preprocessing = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")
    image = noise(size, mode, 1)
    np.testing.assert_array_equal(prepare(image, preprocessing), uint8_of(theirs(preprocessing), image))


def test_palettes_keep_their_colours_in_the_border() -> None:
    preprocessing = Preprocessing((30, 30), (0.5,) * 3, (0.5,) * 3, "bicubic", "longest", fill_color=3)
    image = noise((30, 11), "P", 4)
    image.info["transparency"] = 3
    np.testing.assert_array_equal(prepare(image, preprocessing), uint8_of(theirs(preprocessing), image))


def test_a_picture_too_thin_to_be_resized_is_refused() -> None:
    thin = Image.new("RGB", (1, 20_000))
    shortest = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")
    with pytest.raises(ImageError, match="too thin to be resized: 1 x 20000"):
        prepare(thin, shortest)
    squash = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash")
    assert prepare(thin, squash).shape == (64, 64, 3)


def test_the_resized_size_is_told() -> None:
    def told(mode: str, size: tuple[int, int] = (224, 224)) -> tuple[int, int]:
        return resized_size((466, 388), Preprocessing(size, (0.5,) * 3, (0.5,) * 3, "bicubic", mode))

    assert told("shortest") == (269, 224)
    assert told("longest") == (224, 187)
    assert told("squash") == (224, 224)
    assert told("shortest", (200, 300)) == (300, 250)
