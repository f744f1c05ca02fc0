"""What identifies weights, and how digests of large files are remembered."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import open_clip
import pytest
from kits.models import CONFIGS, write_model

from zsretrieve.domain.errors import WeightsUnavailableError
from zsretrieve.encoders.catalog import fingerprint
from zsretrieve.encoders.catalog.model_name import parse_model_name


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def old_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_digest_is_of_weights_configuration_and_tokenizer(tmp_path: Path, name: str) -> None:
    folder = write_model(name, tmp_path / "model")
    model = parse_model_name(f"local-dir:{folder}")
    config = open_clip.get_model_config(f"local-dir:{folder}")
    expected = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    weights = Path(str(open_clip.factory._find_checkpoint_in_dir(folder)))
    for path in [weights, *sorted(folder.glob("tokenizer*.json"))]:
        expected.update(hashlib.sha256(path.read_bytes()).digest())
    assert fingerprint.weights_identity(model) == f"sha256:{expected.hexdigest()}"


def test_a_checkpoint_goes_with_the_configuration_of_its_architecture(tmp_path: Path) -> None:
    path = old_file(tmp_path / "weights.pt", b"weights")
    expected = hashlib.sha256(json.dumps(open_clip.get_model_config("RN50"), sort_keys=True).encode())
    expected.update(hashlib.sha256(b"weights").digest())
    assert fingerprint.weights_identity(parse_model_name(f"RN50/{path}")) == f"sha256:{expected.hexdigest()}"


def test_the_checkpoint_is_the_one_that_open_clip_takes(tmp_path: Path) -> None:
    names = ["zz.safetensors", "a.bin", "model.pth", "pytorch_model.bin", "open_clip_pytorch_model.bin"]
    for count in range(1, len(names) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        for name in names[:count]:
            (folder / name).write_bytes(b"")
        expected = open_clip.factory._find_checkpoint_in_dir(folder)
        assert fingerprint.checkpoint_in(folder) == [Path(str(expected))]


def test_a_digest_is_remembered_until_the_file_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path / "weights", b"one")
    # The time of a file's last change cannot be set back, so the clock is set forward.
    later = fingerprint.time.time_ns() + 10**10
    monkeypatch.setattr(fingerprint.time, "time_ns", lambda: later)
    first = fingerprint.digest_of_file(path)
    assert first == hashlib.sha256(b"one").hexdigest()
    memo = json.loads((cache / "digests.json").read_text())
    assert list(memo) == [str(path)]
    memo[str(path)][-1] = "remembered"
    (cache / "digests.json").write_text(json.dumps(memo))
    assert fingerprint.digest_of_file(path) == "remembered"
    old_file(path, b"two")
    assert fingerprint.digest_of_file(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert fingerprint.digest_of_file(path) == hashlib.sha256(b"one").hexdigest()
    assert not (cache / "digests.json").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 3}', b"\xff"])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, cache: Path, content: bytes) -> None:
    cache.mkdir()
    (cache / "digests.json").write_bytes(content)
    path = old_file(tmp_path / "weights", b"one")
    assert fingerprint.digest_of_file(path) == hashlib.sha256(b"one").hexdigest()


def test_a_model_without_a_valid_configuration_is_refused(tmp_path: Path) -> None:
    folder = write_model("vit-quickgelu", tmp_path / "model")
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(WeightsUnavailableError, match="could not load the weights"):
        fingerprint.weights_identity(parse_model_name(f"local-dir:{folder}"))
