"""What is trained of a model: its vectors are open_clip's, and what is added becomes part of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kits.models import write_model
from torch.nn import functional as F

import zsretrieve as zs
from zsretrieve.encoders.catalog.files import configuration
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.torch import loading
from zsretrieve.encoders.torch.loading import OpenClipModel
from zsretrieve.encoders.torch.text_tower import text_of
from zsretrieve.training.texts import TrainedTexts

CAPTIONS = ("a red star", "two blue circles above a very long wooden thing.", "!", "star")
MODELS = ("vit-quickgelu", "siglip-like")


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(request.param, tmp_path_factory.mktemp("models") / request.param)


def opened(folder: Path, **settings: object) -> tuple[OpenClipModel, TrainedTexts]:
    name = parse_model_name(f"local-dir:{folder}")
    loaded = loading.load(name)
    wanted = zs.TrainingSettings(**settings)  # type: ignore[arg-type]
    return loaded, TrainedTexts(loaded, configuration(name).model, CAPTIONS, wanted, torch.device("cpu"))


def plain(loaded: OpenClipModel) -> torch.Tensor:
    with torch.no_grad():
        return F.normalize(loaded.model.encode_text(loaded.tokenizer(list(CAPTIONS))), dim=-1)


def test_vectors_are_those_of_open_clip(folder: Path) -> None:
    loaded, texts = opened(folder)
    assert torch.allclose(texts.all_vectors(), plain(loaded), atol=1e-5)
    some = texts.vectors(np.array([2, 0]))
    assert torch.allclose(some, plain(loaded)[[2, 0]], atol=1e-5)
    some.sum().backward()
    trained = {name for name, value in loaded.model.named_parameters() if value.requires_grad}
    assert trained == set(texts.parameters)
    assert not any(name.startswith("visual.") for name in trained)


def test_a_linear_map_becomes_part_of_the_projection(folder: Path) -> None:
    loaded, texts = opened(folder, tune="linear")
    before = plain(loaded)
    assert torch.allclose(texts.all_vectors(), before, atol=1e-5)
    torch.manual_seed(1)
    with torch.no_grad():
        texts.parameters["map"] += torch.randn_like(texts.parameters["map"]) / 4
    projection = text_of(loaded.model).text_projection
    if isinstance(projection, torch.nn.Linear):  # random weights have no bias worth the name
        with torch.no_grad():
            projection.bias.normal_()
        before = plain(loaded)
    expected = F.normalize(before.double() @ texts.parameters["map"].double(), dim=-1).float()
    assert (expected - before).abs().max() > 0.05
    texts.finished()
    assert torch.allclose(plain(loaded), expected, atol=1e-5)


def test_low_rank_additions_become_part_of_the_weights(folder: Path) -> None:
    reference, _ = opened(folder)
    loaded, texts = opened(folder, tune="lora")
    before = plain(reference)
    assert torch.allclose(texts.all_vectors(), before, atol=1e-5)
    torch.manual_seed(1)
    expected = reference.model.state_dict()
    blocks = "text.transformer.resblocks." if hasattr(reference.model, "text") else "transformer.resblocks."
    with torch.no_grad():
        for name, value in texts.parameters.items():
            if name.endswith(".up"):
                value += torch.randn_like(value) / 10
                matrix = name.removesuffix(".up")
                assert value.shape[1] == 8
                expected[blocks + matrix] += value @ texts.parameters[f"{matrix}.down"]
    matrices = {name for name, value in expected.items() if name.startswith(blocks) and value.ndim == 2}
    assert matrices == {blocks + name.removesuffix(".up") for name in texts.parameters if name.endswith(".up")}
    during = texts.all_vectors()
    texts.finished()
    assert loaded.model.state_dict().keys() == expected.keys()
    for name, value in loaded.model.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert torch.allclose(plain(loaded), during, atol=1e-5)
    assert not torch.allclose(plain(loaded), before, atol=0.01)


def test_a_tower_without_blocks_takes_no_additions(folder: Path) -> None:
    loaded, _ = opened(folder)
    text_of(loaded.model).transformer = torch.nn.Identity()
    with pytest.raises(zs.UsageError, match="no blocks of open_clip"):
        TrainedTexts(loaded, {}, CAPTIONS, zs.TrainingSettings(tune="lora"), torch.device("cpu"))


def test_a_tower_without_a_projection_takes_no_linear_map(folder: Path) -> None:
    loaded, _ = opened(folder)
    text_of(loaded.model).text_projection = None
    with pytest.raises(zs.UsageError, match="no linear projection"):
        TrainedTexts(loaded, {}, CAPTIONS, zs.TrainingSettings(tune="linear"), torch.device("cpu"))


def test_from_scratch_only_the_text_side_is_new_and_unseen_words_say_nothing(folder: Path) -> None:
    reference, _ = opened(folder)
    before = {name: value.clone() for name, value in reference.model.state_dict().items()}
    loaded, texts = opened(folder, from_scratch=True, seed=4)
    again, _ = opened(folder, from_scratch=True, seed=4)
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
        if name.startswith("visual."):
            assert torch.equal(value, before[name]), name
    embedding = text_of(loaded.model).token_embedding.weight
    used = loaded.tokenizer(list(CAPTIONS)).unique()
    assert embedding[used].abs().sum(dim=1).min() > 0
    assert embedding.abs().sum(dim=1).count_nonzero() == len(used)
    assert not torch.allclose(texts.all_vectors(), plain(reference), atol=0.05)


@pytest.mark.parametrize(("loss", "scale", "bias"), [("siglip", 10.0, -10.0), ("clip", 1 / 0.07, None)])
def test_a_loss_brings_the_temperature_that_it_needs(
    tmp_path: Path, loss: str, scale: float, bias: float | None
) -> None:
    _, texts = opened(write_model("vit-quickgelu", tmp_path / "model"), loss=loss)
    assert texts.scale.item() == pytest.approx(scale, rel=1e-4)
    assert (None if texts.bias is None else texts.bias.item()) == bias
