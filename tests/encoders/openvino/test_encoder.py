"""The CPU engine against the plain path: open_clip's own model, preprocessing and tokenizer."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from kits.encoder_kit import TEXTS, check_encoder, pictures
from kits.families import CAUSAL, FAMILIES, write_family

import zsretrieve as zs
from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.openvino import encoder as openvino_encoder
from zsretrieve.encoders.openvino import model_cache
from zsretrieve.encoders.openvino.runtime import runs_bf16
from zsretrieve.system import hardware

LONG = ["a red circle left of a blue square, " * 30, "a", "a photo of a small dog."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def written(folders: Path, family: str) -> str:
    if not (folders / family).exists():
        write_family(family, folders / family)
    return f"local-dir:{folders / family}"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_conforms_and_equals_the_plain_path(folders: Path, family: str) -> None:
    name = written(folders, family)
    check_encoder(lambda: zs.Model(name, zs.Compute(engine="openvino", precision="fp32")).load())
    encoder = zs.Model(name, zs.Compute(engine="openvino", precision="fp32")).load()
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    texts = [*TEXTS, *LONG]
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(image) for image in pictures()])).numpy()
        prompts = model.encode_text(open_clip.get_tokenizer(name)(texts)).numpy()
    ours = encoder.encode_prepared([encoder.prepare(image) for image in pictures()])
    np.testing.assert_allclose(ours, unit_rows(images), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), unit_rows(prompts), atol=1e-5)
    found = model_cache.find(parse_model_name(name))
    assert found is not None
    assert found.causal == (family in CAUSAL)


@pytest.mark.parametrize("family", ["clip-vit", "siglip"])
def test_bf16_stays_close(folders: Path, family: str) -> None:
    name = written(folders, family)
    exact, fast = (zs.Model(name, zs.Compute(engine="openvino", precision=p)).load() for p in ("fp32", "bf16"))
    assert exact.space == fast.space
    computed = "bf16" if runs_bf16() else "fp32"
    assert (fast.encoding.engine, fast.encoding.precision, fast.encoding.device) == ("openvino", computed, "cpu")
    prepared = [exact.prepare(image) for image in pictures()[:-2]]
    for one, other in [
        (exact.encode_prepared(prepared), fast.encode_prepared(prepared)),
        (exact.encode_texts(TEXTS), fast.encode_texts(TEXTS)),
    ]:
        assert (one * other).sum(axis=1).min() >= 0.999


def test_what_ran_is_recorded_where_there_is_no_bf16(
    folders: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openvino_encoder, "runs_bf16", lambda: False)
    name = written(folders, "clip-vit")
    exact, asked = (zs.Model(name, zs.Compute(engine="openvino", precision=p)).load() for p in ("fp32", "bf16"))
    assert (asked.encoding, asked.text_encoding) == (exact.encoding, exact.text_encoding)
    assert caplog.messages == ["this processor cannot compute in bf16; using fp32"]
    np.testing.assert_array_equal(asked.encode_texts(TEXTS), exact.encode_texts(TEXTS))


def test_both_engines_span_one_space(folders: Path) -> None:
    name = written(folders, "clip-vit")
    torch_engine = zs.Model(name, zs.Compute(engine="torch", device="cpu")).load()
    ours = zs.Model(name, zs.Compute(engine="openvino")).load()
    assert torch_engine.encoding.engine == "torch"
    assert torch_engine.space == ours.space
    assert torch_engine.space.weights == ours.space.weights
    assert torch_engine.head == ours.head
    assert torch_engine.token_counts([*TEXTS, *LONG]) == ours.token_counts([*TEXTS, *LONG])
    for image in pictures():
        np.testing.assert_array_equal(torch_engine.prepare(image), ours.prepare(image))


def test_it_is_chosen_by_itself_on_the_cpu(folders: Path) -> None:
    encoder = zs.Model(written(folders, "clip-vit"), zs.Compute(device="cpu")).load()
    assert encoder.encoding.engine == "openvino"
    assert encoder.encoding.precision == ("bf16" if hardware.cpu_has_bf16() else "fp32")
    with pytest.raises(DeviceError, match="runs on the CPU, not on 'cuda'"):
        zs.Model("demo", zs.Compute(engine="openvino", device="cuda")).load()
    with pytest.raises(DeviceError, match="'tpu' is not an engine"):
        zs.Model("demo", zs.Compute(engine="tpu")).load()
    with pytest.raises(DeviceError, match="'fp8' is not a precision"):
        zs.Model("demo", zs.Compute(precision="fp8")).load()


def test_several_threads_may_encode_at_once(folders: Path) -> None:
    encoder = zs.Model(written(folders, "clip-vit"), zs.Compute(engine="openvino", precision="fp32")).load()
    prepared = [encoder.prepare(image) for image in pictures()]
    alone = encoder.encode_prepared(prepared)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: encoder.encode_prepared(prepared), range(12)):
            np.testing.assert_array_equal(vectors, alone)


def test_a_converted_model_runs_without_a_model_library() -> None:
    zs.export_model("demo")
    code = (
        "import sys; import zsretrieve as zs; e = zs.Model('demo', zs.Compute(device='cpu')).load();"
        "assert e.encode_texts(['a red circle']).shape == (1, e.space.dim);"
        "from PIL import Image; e.encode_prepared([e.prepare(Image.new('RGB', (50, 60), 'red'))]);"
        "print([m for m in ('torch', 'open_clip', 'transformers', 'torchvision', 'timm', 'openvino_telemetry')"
        " if sys.modules.get(m)], 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_the_converter_stays_where_others_look_for_it() -> None:
    code = (
        "from zsretrieve.encoders.openvino import runtime; import openvino, torch;"
        "print(openvino.convert_model(torch.nn.Linear(2, 3), example_input=torch.zeros(1, 2)).outputs[0].partial_shape)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[?,3]"
