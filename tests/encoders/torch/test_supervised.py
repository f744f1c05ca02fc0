"""A linear classifier as retrieval says what the classifier says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision.models import ResNet50_Weights

import zsretrieve as zs
from zsretrieve.domain.errors import ClassMappingError, DeviceError, ModelNameError, WeightsUnavailableError
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.baseline import is_supervised
from zsretrieve.encoders.torch import supervised
from zsretrieve.encoders.torch.supervised import SupervisedEncoder, load_supervised

WIDTH = 3 * 4 * 4
CPU = Compute(device="cpu")


def features() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())


def linear(n_classes: int, seed: int, scale: float = 1.0) -> nn.Linear:
    made = nn.Linear(WIDTH, n_classes)
    rng = np.random.default_rng(seed)
    # Classes of very different lengths and biases, which cosine similarity alone would confuse.
    rows = rng.standard_normal((n_classes, WIDTH)) * rng.uniform(0.01, scale, (n_classes, 1))
    made.weight.data = torch.from_numpy(rows.astype(np.float32))
    made.bias.data = torch.from_numpy(rng.normal(0, scale, n_classes).astype(np.float32))
    return made


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000), st.sampled_from([0.1, 1.0, 30.0]))
def test_the_nearest_class_is_that_of_the_greatest_logit(n_classes: int, seed: int, scale: float) -> None:
    classifier = linear(n_classes, seed, scale)
    encoder = SupervisedEncoder(
        features(), classifier, [f"n{i:08}" for i in range(n_classes)], "w", Compute(device="cpu")
    )
    pixels = list(np.random.default_rng(seed).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8))
    with torch.no_grad():
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        logits = classifier.double()(features()((images - mean) / std).double()).numpy()
    classes = encoder.class_vectors([f"n{i:08}" for i in range(n_classes)])
    vectors = encoder.encode_prepared(pixels)
    for rows in (classes, vectors):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    scores = vectors.astype(np.float64) @ classes.T.astype(np.float64)
    for row, (ours, theirs) in enumerate(zip(scores.argmax(axis=1), logits.argmax(axis=1), strict=True)):
        # Another class only where rounding to float32 cannot tell the two apart.
        assert logits[row, theirs] - logits[row, ours] <= 1e-5 * scale * np.abs(logits).max() + 1e-5


def test_classes_are_found_by_synset_id() -> None:
    encoder = SupervisedEncoder(
        features(), linear(3, 0), ["n00000001", "n00000002", "n00000003"], "w", Compute(device="cpu")
    )
    whole = encoder.class_vectors(["n00000001", "n00000002", "n00000003"])
    assert np.array_equal(encoder.class_vectors(["n00000003", "n00000001"]), whole[[2, 0]])
    for keys in (["n00000009"], ["n00000001", None]):
        with pytest.raises(ClassMappingError, match="does not know 1 of the"):
            encoder.class_vectors(keys)
    with pytest.raises(ModelNameError, match="cannot encode texts, such as 'a dog'"):
        encoder.encode_texts(["a dog"])
    assert encoder.encode_prepared([]).shape == (0, WIDTH + 2)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (300, 257), (60, 91), (224, 224)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pictures_are_prepared_as_torchvision_does(size: tuple[int, int], mode: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    encoder = SupervisedEncoder(features(), linear(2, 0), ["a", "b"], "w", CPU)
    theirs = ResNet50_Weights.IMAGENET1K_V1.transforms()(image.convert("RGB"))
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = ((theirs * std + mean) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(encoder.prepare(image), expected)


def test_features_of_a_classifier_are_timm_s(
    tmp_path: Path, scene_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random weights, since none can be had here; a probe on them is an index like any other."""
    torch.manual_seed(0)
    made = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=0).eval()
    monkeypatch.setattr(timm, "create_model", lambda name, **options: made)
    model = zs.Model("timm:test_resnet.r160_in1k", CPU)
    encoder = model.load()
    assert encoder.space.weights == model.identity == "timm:test_resnet.r160_in1k"
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(made), is_training=False)
    photos = [
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8))
        for size in ((300, 400), (200, 170), (160, 160))
    ]
    with torch.no_grad():
        expected = made(torch.stack([transform(photo) for photo in photos])).numpy()
    ours = encoder.encode_prepared([encoder.prepare(photo) for photo in photos])
    assert np.allclose(ours, unit_rows(expected), atol=1e-5)
    for name in ("red circle", "blue star", "green heart"):
        (tmp_path / "scenes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "scenes" / name).symlink_to(scene_folder / name)
    probe = zs.train_probe(tmp_path / "scenes", tmp_path / "probe", model, regularisation=zs.Regularisation(1e6))
    assert probe.prototypes.space.model == "timm:test_resnet.r160_in1k"
    report = zs.evaluate(tmp_path / "scenes", tmp_path / "probe", include_shots=True)
    assert (report.n_scored, report.prec_at_1) == (9, 1.0)
    with pytest.raises(ModelNameError, match="cannot encode texts"):
        zs.make_prototypes("cat,dog", model)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("torchvision:resnet18", ModelNameError, "is not a classifier"),
        ("timm:resnet50", ModelNameError, "is not a classifier"),
        ("timm:hf-hub:someone/else", ModelNameError, "is not a classifier"),
        ("timm:resnet50.a1_in2k", ModelNameError, "timm has no weights called"),
        ("timm:resnet50.a1_in1k", WeightsUnavailableError, "could not load the weights"),
    ],
)
def test_classifiers_that_cannot_be_had(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        zs.Model(name, CPU).load()


def test_classifiers_run_in_torch() -> None:
    for options in ({"engine": "openvino"}, {"precision": "int8"}):
        with pytest.raises(DeviceError, match="runs in torch"):
            zs.Model("timm:resnet50.a1_in1k", Compute(device="cpu", **options)).load()


def test_weights_that_are_not_available(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not supervised.is_cached()
    with pytest.raises(WeightsUnavailableError, match="not in torch's cache, and HF_HUB_OFFLINE is set") as error:
        load_supervised(Compute())
    assert "`baseline=False`" in str(error.value.hint)
    with pytest.raises(ModelNameError):
        is_supervised("torchvision:resnet18")


def test_the_weights_in_the_cache_are_loaded(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    model = resnet50(weights=None).eval()
    monkeypatch.setattr(
        "torchvision.models.ResNet50_Weights.get_state_dict", lambda self, **options: model.state_dict()
    )
    monkeypatch.setattr("zsretrieve.encoders.torch.supervised.is_cached", lambda: True)
    encoder = load_supervised(Compute(device="cpu"))
    assert encoder.space.dim == 2050
    features = zs.Model("torchvision:resnet50", CPU).load()
    assert features.space.dim == 2048
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    with torch.no_grad():
        logits = model(ResNet50_Weights.IMAGENET1K_V1.transforms()(image)[None])[0].double().numpy()
    keys = list(encoder._class_ids)
    assert len(keys) == 1000
    assert keys[0] == "n01440764"  # tench
    scores = encoder.encode_prepared([encoder.prepare(image)])[0].astype(np.float64) @ encoder.class_vectors(keys).T
    assert scores.argmax() == logits.argmax()
    assert np.corrcoef(scores, logits)[0, 1] > 0.9999
    (vector,) = features.encode_prepared([features.prepare(image)])
    linear = model.fc.weight.detach().double().numpy() @ vector
    length = np.linalg.lstsq(linear[:, None], logits - model.fc.bias.detach().double().numpy(), rcond=None)[0]
    assert np.allclose(length * linear + model.fc.bias.detach().double().numpy(), logits, atol=1e-4)
