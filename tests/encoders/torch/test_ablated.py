"""A changed model does what open_clip's own does when it is made so, and is itself again afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from kits.models import write_model
from PIL import Image
from torchvision.transforms import functional as F

from zsretrieve.domain.errors import DoesNotApplyError
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.torch.ablated import AblatedEncoder
from zsretrieve.encoders.torch.encoder import TorchEncoder
from zsretrieve.reproduction.ablation import CHANGES

TEXTS = ["a photo of a red circle.", "A Photo, of_a BLUE star!", "dog"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_model(name, root / name) for name in ("vit-quickgelu", "siglip-like")}


@pytest.fixture(scope="module", params=["vit-quickgelu", "siglip-like"])
def encoder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> AblatedEncoder:
    return AblatedEncoder(f"local-dir:{folders[request.param]}", Compute(device="cpu"))


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(2).integers(0, 256, (90, 150, 3), dtype=np.uint8))


def vectors(encoder: TorchEncoder) -> tuple[np.ndarray, np.ndarray]:
    return encoder.encode_prepared([encoder.prepare(photo())]), encoder.encode_texts(TEXTS)


def test_what_is_changed_is_changed_back(encoder: AblatedEncoder) -> None:
    plain = vectors(TorchEncoder(encoder.space.model, Compute(device="cpu", precision="fp32")))
    tried = 0
    for change, affects in CHANGES.items():
        try:
            with encoder.ablate(change) as words:
                assert words
                changed = vectors(encoder)
        except DoesNotApplyError:
            continue
        tried += 1
        # A change of images alone leaves texts as they were, and the other way round.
        for kind, before, after in zip(("images", "texts"), plain, changed, strict=True):
            if affects not in (kind, "both"):
                assert np.array_equal(before, after)
        for before, after in zip(plain, vectors(encoder), strict=True):
            assert np.array_equal(before, after)
    assert tried >= 6
    with pytest.raises(DoesNotApplyError), encoder.ablate("weather"):
        pass
    with pytest.raises(ZeroDivisionError), encoder.ablate("activation"):
        raise ZeroDivisionError
    assert np.array_equal(vectors(encoder)[1], plain[1])


def test_the_other_activation_is_open_clip_s(encoder: AblatedEncoder) -> None:
    quick = encoder.space.activation == "quick_gelu"
    model = open_clip.create_model(
        encoder.space.model, load_weights=False, output_dict=False,
        **({"quick_gelu": False} if quick else {"force_quick_gelu": True}),
    ).eval()  # fmt: skip
    model.load_state_dict(encoder._model.state_dict())
    words = open_clip.get_tokenizer(encoder.space.model)
    with torch.no_grad():
        expected = unit_rows(model.encode_text(words(TEXTS)).numpy())
    plain = encoder.encode_texts(TEXTS)
    with encoder.ablate("activation") as description:
        changed = encoder.encode_texts(TEXTS)
    assert description.startswith("GELU instead" if quick else "QuickGELU instead")
    assert np.abs(changed - expected).max() < 1e-5
    assert np.abs(changed - plain).max() > 1e-4


def test_texts_not_normalised_are_open_clip_s(encoder: AblatedEncoder) -> None:
    words = open_clip.get_tokenizer(encoder.space.model)
    with torch.no_grad():
        expected = encoder._model.encode_text(words(TEXTS), normalize=False).numpy()
    with encoder.ablate("normalisation"):
        raw = encoder.encode_texts(TEXTS)
    assert np.abs(raw - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(np.linalg.norm(encoder.encode_texts(TEXTS), axis=1) - 1).max() < 1e-6


def test_resizing_and_interpolation_are_open_clip_s(encoder: AblatedEncoder) -> None:
    old = encoder.space.preprocessing
    for change in ("resizing", "interpolation"):
        cfg = {
            "size": old.size, "mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": old.interpolation,
            "resize_mode": old.resize_mode,
        }  # fmt: skip
        if change == "resizing":
            cfg["resize_mode"] = "shortest" if old.resize_mode == "squash" else "squash"
        else:
            cfg["interpolation"] = "bilinear"
        theirs = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**cfg), is_train=False)
        with encoder.ablate(change):
            ours = encoder.prepare(photo())
        assert np.array_equal(ours, (theirs(photo()).permute(1, 2, 0) * 255).round().byte().numpy())


def test_without_antialiasing_is_torchvision_s_of_tensors(folders: dict[str, Path]) -> None:
    encoder = AblatedEncoder(f"local-dir:{folders['siglip-like']}", Compute(device="cpu"))
    tensor = torch.from_numpy(np.array(photo())).permute(2, 0, 1)
    theirs = F.resize(tensor, [64, 64], F.InterpolationMode.BICUBIC, antialias=False)
    with encoder.ablate("antialiasing"):
        ours = encoder.prepare(photo())
    assert np.abs(ours.astype(int) - theirs.permute(1, 2, 0).numpy().astype(int)).max() <= 1
    # A picture of the model's size has nothing to be resized.
    small = photo().crop((0, 0, 64, 64))
    with encoder.ablate("antialiasing"):
        assert np.array_equal(encoder.prepare(small), np.asarray(small))


def test_case_and_punctuation(folders: dict[str, Path]) -> None:
    siglip = AblatedEncoder(f"local-dir:{folders['siglip-like']}", Compute(device="cpu"))
    clip = AblatedEncoder(f"local-dir:{folders['vit-quickgelu']}", Compute(device="cpu"))
    one, other = "A Photo, of a dog.", "a photo of a dog"

    def alike(encoder: AblatedEncoder, first: str, second: str) -> bool:
        return bool(np.array_equal(encoder.encode_texts([first]), encoder.encode_texts([second])))

    assert alike(siglip, one, other)
    assert not alike(clip, one, other)
    assert alike(clip, one, one.lower())
    with siglip.ablate("case"):
        assert not alike(siglip, one, one.lower())
        assert alike(siglip, one, "A Photo of a dog")
    with siglip.ablate("punctuation"):
        assert alike(siglip, one, one.lower())
        assert not alike(siglip, one, "A Photo of a dog")
    with clip.ablate("case"):
        assert not alike(clip, one, one.lower())
    with clip.ablate("punctuation"):
        assert alike(clip, one, other)


def test_padding_matters_where_padding_is_seen(folders: dict[str, Path]) -> None:
    clip = AblatedEncoder(f"local-dir:{folders['vit-quickgelu']}", Compute(device="cpu"))
    with pytest.raises(DoesNotApplyError), clip.ablate("padding"):
        pass
    siglip = AblatedEncoder(f"local-dir:{folders['siglip-like']}", Compute(device="cpu"))
    plain = siglip.encode_texts(TEXTS)
    with siglip.ablate("padding") as words:
        changed = siglip.encode_texts(TEXTS)
    assert words == "texts padded to the longest of their batch instead of 64 tokens"
    tokens = open_clip.get_tokenizer(siglip.space.model)(TEXTS)
    longest = int((tokens != 1).sum(dim=1).max()) + 1
    with torch.no_grad():
        expected = unit_rows(siglip._model.encode_text(tokens[:, :longest]).numpy())
    assert np.abs(changed - expected).max() < 1e-5
    assert np.abs(changed - plain).max() > 1e-4
