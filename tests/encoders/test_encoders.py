import contextlib
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from kits.encoder_kit import TEXTS, check_encoder, pictures
from kits.hashing_encoder import HashingEncoder
from kits.models import CONFIGS, write_model
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import DeviceError, ImageError, ModelNameError, WeightsUnavailableError
from zsretrieve.domain.records import ScoreHead
from zsretrieve.domain.settings import Compute
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.torch.autocast import _exact_convolutions
from zsretrieve.encoders.torch.encoder import TorchEncoder, resolve_device


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_model(name, root / name) for name in CONFIGS}


def test_hashing_encoder_conforms() -> None:
    check_encoder(HashingEncoder)


def test_bundled_model_conforms() -> None:
    check_encoder(lambda: zs.Model("demo", zs.Compute(device="cpu", precision="fp32")).load())


@pytest.mark.parametrize("name", list(CONFIGS))
def test_small_models_conform(models: dict[str, Path], name: str) -> None:
    check_encoder(lambda: TorchEncoder(f"local-dir:{models[name]}", Compute(device="cpu", precision="fp32")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine")
@pytest.mark.parametrize("name", list(CONFIGS))
def test_small_models_conform_on_a_gpu(models: dict[str, Path], name: str) -> None:
    check_encoder(lambda: TorchEncoder(f"local-dir:{models[name]}", Compute(device="cuda", precision="fp32")))


@pytest.mark.parametrize("name", list(CONFIGS))
def test_equals_the_plain_path(models: dict[str, Path], name: str) -> None:
    encoder = TorchEncoder(f"local-dir:{models[name]}", Compute(device="cpu", precision="fp32"))
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{models[name]}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{models[name]}")
    model.eval()
    with torch.no_grad():
        pixels = torch.stack([preprocess(i) for i in pictures()])
        plain, images = model.encode_image(pixels), model.encode_image(pixels, normalize=True)
        texts = model.encode_text(tokenizer(TEXTS), normalize=True)
    ours = encoder.encode_prepared([encoder.prepare(i) for i in pictures()])
    # The same pixels in the same arithmetic; only the length is divided away in float64 here.
    np.testing.assert_array_equal(ours, unit_rows(plain.numpy()))
    np.testing.assert_allclose(ours, images.numpy(), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["demo", *CONFIGS])
def test_bf16_stays_close(models: dict[str, Path], name: str) -> None:
    written = name if name == "demo" else f"local-dir:{models[name]}"
    exact, fast = (TorchEncoder(written, Compute(device="cpu", precision=p)) for p in ("fp32", "bf16"))
    assert exact.space == fast.space
    assert (exact.encoding.precision, fast.encoding.precision) == ("fp32", "bf16")
    # Blank pictures of one pixel's width are left out: with nothing in them, rounding is all that is left.
    prepared = [exact.prepare(i) for i in pictures()[:-2]]
    for one, other in [
        (exact.encode_prepared(prepared), fast.encode_prepared(prepared)),
        (exact.encode_texts(TEXTS), fast.encode_texts(TEXTS)),
    ]:
        assert (one * other).sum(axis=1).min() >= 0.999
        assert not np.array_equal(one, other)


def test_spaces_differ_in_what_matters(models: dict[str, Path]) -> None:
    vit = TorchEncoder(f"local-dir:{models['vit-quickgelu']}")
    resnet = TorchEncoder(f"local-dir:{models['modified-resnet']}")
    siglip = TorchEncoder(f"local-dir:{models['siglip-like']}")
    assert vit.space.activation == "quick_gelu"
    assert siglip.space.activation == "gelu"
    assert resnet.space.preprocessing.resize_mode == "longest"
    assert resnet.space.preprocessing.interpolation == "bilinear"
    assert siglip.space.preprocessing.resize_mode == "squash"
    assert (vit.space.text.context_length, siglip.space.text.context_length) == (77, 64)
    assert siglip.space.text.tokenizer == "HFTokenizer:canonicalize"
    assert vit.space.differences(siglip.space) == ["weights", "dim", "activation", "preprocessing", "text"]
    assert (siglip.head.kind, siglip.head.bias) == (ScoreHead.SIGMOID, -10.0)
    assert vit.head.kind is ScoreHead.SOFTMAX
    assert vit.head.scale == pytest.approx(1 / 0.07)


def test_siglip_text_is_lower_cased_stripped_and_padded(models: dict[str, Path]) -> None:
    encoder = TorchEncoder(f"local-dir:{models['siglip-like']}")
    vectors = encoder.encode_texts(["A Red, circle!", "a red circle"])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_a_space_is_the_weights_not_the_place(models: dict[str, Path], tmp_path: Path) -> None:
    here = TorchEncoder(f"local-dir:{models['vit-quickgelu']}")
    copy = write_model("vit-quickgelu", tmp_path / "copy")
    other = write_model("vit-quickgelu", tmp_path / "other", seed=1)
    assert here.space == TorchEncoder(f"local-dir:{copy}").space
    assert here.space.differences(TorchEncoder(f"local-dir:{other}").space) == ["weights"]


def test_checkpoint_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt", load_weights=False)
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    encoder = TorchEncoder(f"ViT-S-32-alt/{path}", Compute(device="cpu"))
    assert encoder.space.dim == 256
    assert encoder.space.weights.startswith("sha256:")
    with torch.no_grad():
        expected = model.eval().encode_text(open_clip.get_tokenizer("ViT-S-32-alt")(["a cat"]), normalize=True)
    np.testing.assert_allclose(encoder.encode_texts(["a cat"]), expected.numpy(), atol=1e-6)


def test_missing_weights_say_what_to_do() -> None:
    for name in ("ViT-B-32-256/datacomp_s34b_b86k", "ViT-B-32/openai", "hf-hub:timm/ViT-B-16-SigLIP"):
        with pytest.raises(WeightsUnavailableError, match="could not load the weights") as caught:
            TorchEncoder(name)
        assert "demo" in str(caught.value.hint)
        assert "local-dir:" in str(caught.value.hint)
        assert len(caught.value.message) < 400


def test_weights_that_do_not_fit(models: dict[str, Path], tmp_path: Path) -> None:
    broken = write_model("vit-quickgelu", tmp_path / "broken")
    (broken / "open_clip_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsUnavailableError, match="could not load the weights"):
        TorchEncoder(f"local-dir:{broken}")
    swapped = write_model("modified-resnet", tmp_path / "swapped")
    other = (models["vit-quickgelu"] / "open_clip_model.safetensors").read_bytes()
    (swapped / "open_clip_model.safetensors").write_bytes(other)
    with pytest.raises(WeightsUnavailableError, match="could not load the weights"):
        TorchEncoder(f"local-dir:{swapped}")
    (swapped / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsUnavailableError, match="could not load the weights"):
        TorchEncoder(f"local-dir:{swapped}")


def test_unknown_models_name_the_nearest() -> None:
    with pytest.raises(ModelNameError, match="no architecture 'ViT-B32'") as caught:
        TorchEncoder("ViT-B32/openai")
    assert "ViT-B-32/openai" in str(caught.value.hint)
    with pytest.raises(ModelNameError, match="has no tag 'opnai'") as caught:
        TorchEncoder("ViT-B-32/opnai")
    assert "openai" in str(caught.value.hint)


def test_a_space_is_the_configuration_and_the_tokenizer_too(models: dict[str, Path], tmp_path: Path) -> None:
    vit = TorchEncoder(f"local-dir:{models['vit-quickgelu']}")
    other_heads = write_model("vit-quickgelu", tmp_path / "heads")
    config = json.loads((other_heads / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["head_width"] = 16
    (other_heads / "open_clip_config.json").write_text(json.dumps(config))
    assert vit.space.differences(TorchEncoder(f"local-dir:{other_heads}").space) == ["weights"]
    siglip = TorchEncoder(f"local-dir:{models['siglip-like']}")
    other_words = write_model("siglip-like", tmp_path / "words")
    tokenizer = (other_words / "tokenizer.json").read_text()
    (other_words / "tokenizer.json").write_text(tokenizer.replace('"content": "<unk>"', '"content": "<unk>" ', 1))
    assert siglip.space.differences(TorchEncoder(f"local-dir:{other_words}").space) == ["weights"]


def test_an_image_too_thin_to_be_resized_is_refused(models: dict[str, Path]) -> None:
    thin = Image.new("RGB", (1, 20_000))
    with pytest.raises(ImageError, match="too thin to be resized: 1 x 20000"):
        TorchEncoder(f"local-dir:{models['vit-quickgelu']}").prepare(thin)
    siglip = TorchEncoder(f"local-dir:{models['siglip-like']}")
    assert siglip.prepare(thin).shape == (64, 64, 3)


def test_devices_and_precisions() -> None:
    for device in ("tpu", "meta", "cuda:99"):
        with pytest.raises(DeviceError):
            resolve_device(device)
    with pytest.raises(DeviceError, match="precision"):
        TorchEncoder("demo", Compute(precision="fp8"))
    assert resolve_device("cpu").type == "cpu"


def test_loading_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        TorchEncoder("demo")
    assert stdout.getvalue() == ""
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_model_agrees_also_on_a_batch_that_is_not_full(models: dict[str, Path]) -> None:
    name = f"local-dir:{models['vit-quickgelu']}"
    plain, compiled = (TorchEncoder(name, Compute(device="cpu", batch_size=8, compile=made)) for made in (False, True))
    prepared = [plain.prepare(i) for i in pictures()[:7]]
    np.testing.assert_allclose(compiled.encode_prepared(prepared), plain.encode_prepared(prepared), atol=1e-5)
    assert compiled.space == plain.space


def test_threads_that_come_and_go_leave_the_switch_of_tf32_as_it_was() -> None:
    inside = _exact_convolutions
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        inside.__enter__()
        inside.__enter__()
        inside.__exit__()
        assert not torch.backends.cudnn.allow_tf32, "one thread is still inside"
        inside.__exit__()
        assert torch.backends.cudnn.allow_tf32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine")
@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_on_a_gpu_stays_close(models: dict[str, Path], name: str, compiled: bool) -> None:
    exact = TorchEncoder(f"local-dir:{models[name]}", Compute(device="cpu", precision="fp32"))
    fast = TorchEncoder(f"local-dir:{models[name]}", Compute(device="cuda", batch_size=8, compile=compiled))
    assert (fast.encoding.precision, fast.concurrency) == ("bf16", 1 if compiled else 2)
    prepared = [exact.prepare(i) for i in pictures()[:-2]]
    expected = exact.encode_prepared(prepared)
    with ThreadPoolExecutor(fast.concurrency) as pool:
        for vectors in pool.map(fast.encode_prepared, [prepared] * 6):
            assert (vectors * expected).sum(axis=1).min() >= 0.999


def test_a_model_shows_its_name_and_settings() -> None:
    assert repr(zs.Model("demo", zs.Compute("cpu"))) == f"Model('demo', {zs.Compute('cpu')!r})"
