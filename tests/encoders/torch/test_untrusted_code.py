"""Nothing that a model or a data set carries may run code: each test carries some that would write a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kits.models import CLIP_TEXT, write_model

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError, UntrustedCodeError, WeightsUnavailableError
from zsretrieve.domain.settings import Engine

TORCH = zs.Compute("cpu", engine=Engine.TORCH)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return tmp_path / "proof"


class Writes:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self._proof, "code ran")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("siglip-like", tmp_path_factory.mktemp("siglip"))


@pytest.fixture
def with_code(siglip: Path, tmp_path: Path, proof: Path) -> Path:
    """A model whose tokenizer is a Python file of its own."""
    folder = shutil.copytree(siglip, tmp_path / "model")
    (folder / "own.py").write_text(
        "from pathlib import Path\nfrom transformers import PreTrainedTokenizerFast\n"
        f"Path({str(proof)!r}).write_text('code ran')\n\n\nclass Own(PreTrainedTokenizerFast):\n    pass\n"
    )
    edit(folder / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": [None, "own.Own"]})
    return folder


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def ask_for_code(folder: Path) -> None:
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"]["trust_remote_code"] = True
    file.write_text(json.dumps(config))


def test_a_tokenizer_runs_its_code_only_if_that_is_allowed(with_code: Path, proof: Path, run_cli: Any) -> None:
    ask_for_code(with_code)
    name = f"local-dir:{with_code}"
    for compute in (TORCH, zs.Compute("cpu")):
        with pytest.raises(UntrustedCodeError, match="its configuration sets trust_remote_code") as caught:
            zs.Model(name, compute).load()
    assert "`trust_remote_code`" in str(caught.value.hint)
    with pytest.raises(UntrustedCodeError):
        zs.export_model(name)
    run = run_cli("index", "prototypes", proof.parent / "out", "--classes", "a,b", "--model", name)
    assert run.returncode == 1
    assert "trust_remote_code" in run.stderr
    assert "preparing" not in run.stderr
    assert not proof.exists()
    zs.Model(name, zs.Compute("cpu", engine="torch", trust_remote_code=True)).load()
    assert proof.exists(), "the test must be able to fail"


def test_a_tokenizer_that_does_not_ask_runs_no_code(with_code: Path, proof: Path) -> None:
    with pytest.raises(UntrustedCodeError, match="its tokenizer has files of its own"):
        zs.Model(f"local-dir:{with_code}", TORCH).load()
    assert not proof.exists()


def test_a_configuration_of_transformers_runs_no_code(tmp_path: Path, proof: Path) -> None:
    """A text tower of transformers, by a folder whose configuration is a Python file."""
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "own.py").write_text(f"open({str(proof)!r}, 'w').write('code ran')\n")
    (tower / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}))
    folder = tmp_path / "model"
    folder.mkdir()
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower), "hf_model_pretrained": False}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 16}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UntrustedCodeError, match="files for transformers"):
        zs.Model(f"local-dir:{folder}", TORCH).load()
    assert not proof.exists()


def test_a_checkpoint_runs_no_pickled_code(siglip: Path, tmp_path: Path, proof: Path) -> None:
    folder = shutil.copytree(siglip, tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Writes(proof)}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsUnavailableError):
        zs.Model(f"local-dir:{folder}", TORCH).load()
    assert not proof.exists()


def test_timm_runs_no_pickled_code(tmp_path: Path, proof: Path) -> None:
    """An image tower that timm finds in a folder, with pickled weights of its own."""
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 10}))
    torch.save({"state_dict": Writes(proof)}, tower / "pytorch_model.bin")
    folder = tmp_path / "model"
    folder.mkdir()
    vision = {"image_size": 64, "timm_model_name": f"local-dir:{tower}", "timm_model_pretrained": True}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": CLIP_TEXT, "custom_text": True}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(WeightsUnavailableError):
        zs.Model(f"local-dir:{folder}", TORCH).load()
    assert not proof.exists()


def test_a_data_set_runs_no_code(tmp_path: Path, proof: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "images.py").write_text(f"open({str(proof)!r}, 'w').write('code ran')\n")
    with pytest.raises(SourceError):
        zs.open_source([f"hf:{folder}"])
    assert not proof.exists()


def test_an_index_runs_no_pickled_code(small_gallery: Path, proof: Path) -> None:
    vectors = next(small_gallery.glob("segments/*/vectors.npy"))
    array = np.load(vectors)
    objects = np.empty(array.shape, dtype=object)
    objects[:] = 0
    objects[0, 0] = Writes(proof)
    with open(vectors, "wb") as file:
        np.lib.format.write_array(file, objects, allow_pickle=True)
    with pytest.raises(zs.ZsRetrieveError):
        zs.open_gallery(small_gallery)
    assert zs.verify(small_gallery)
    assert not proof.exists()
