import socket

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from zsretrieve.domain.errors import WeightsUnavailableError
from zsretrieve.encoders.catalog.describe import describe
from zsretrieve.encoders.catalog.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.torch.encoder import TorchEncoder


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_unreachable_hub_is_not_asked(
    online: None, monkeypatch: pytest.MonkeyPatch, closed_port: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", closed_port)
    with offline_if_unreachable():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    for ask in (lambda: TorchEncoder("ViT-B-32/openai"), lambda: describe("hf-hub:timm/ViT-B-16-SigLIP")):
        with pytest.raises(
            WeightsUnavailableError, match=r"could not load .*: not in the cache, and .* cannot be reached"
        ):
            ask()
    assert "Retry" not in capfd.readouterr().err


def test_a_reachable_hub_is_asked(online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with offline_if_unreachable():
            assert not constants.HF_HUB_OFFLINE


def test_a_proxy_is_trusted(online: None, monkeypatch: pytest.MonkeyPatch, closed_port: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", closed_port)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with offline_if_unreachable():
        assert not constants.HF_HUB_OFFLINE


def test_why_something_is_missing() -> None:
    error = RuntimeError("a long story around it")
    error.__cause__ = OSError("no\n route")
    assert why_missing(error, None) == "no route"
    assert why_missing(ValueError(), None) == "ValueError"
    assert why_missing(error, "the hub is away") == "no route", "another kind of error keeps its message"
    error.__cause__.__cause__ = OfflineModeIsEnabled("...")
    assert why_missing(error, "the hub is away") == "not in the cache, and the hub is away"
