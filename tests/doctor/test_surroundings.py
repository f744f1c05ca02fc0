"""Caches, the hub and codecs."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from PIL import features

from zsretrieve.doctor import surroundings
from zsretrieve.doctor.finding import Finding, Status

PROXIES = ("https_proxy", "http_proxy", "all_proxy")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def answering() -> Iterator[type[BaseHTTPRequestHandler]]:
    """A hub that answers with ``status``, at ``address``."""

    class Hub(BaseHTTPRequestHandler):
        status = 200
        address = ""

        def do_HEAD(self) -> None:
            self.send_response(type(self).status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Hub
        server.shutdown()
        thread.join()


def the_hub(*, offline: bool = False) -> Finding:
    (finding,) = surroundings.hub(offline=offline)
    return finding


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(("status", "judged"), [(200, Status.OK), (404, Status.OK), (503, Status.WARNING)])
def test_a_hub_that_answers(
    answering: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch, status: int, judged: Status
) -> None:
    monkeypatch.setattr(answering, "status", status)
    monkeypatch.setattr(constants, "ENDPOINT", answering.address)  # type: ignore[attr-defined]
    finding = the_hub()
    assert finding.status is judged
    assert answering.address in finding.found  # type: ignore[attr-defined]
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("online")
def test_a_hub_that_cannot_be_reached_names_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        finding = the_hub()
    assert finding.status is Status.WARNING
    assert "--model demo" in finding.found
    assert "local-dir:" in finding.found
    assert finding.fix is not None


@pytest.mark.usefixtures("online")
def test_a_proxy_that_does_not_answer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
        finding = the_hub()
    assert finding.status is Status.WARNING
    assert "does not respond" in finding.found


def test_offline_by_choice_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert the_hub().status is Status.OK
    assert "HF_HUB_OFFLINE" in the_hub().found
    assert the_hub(offline=True).found == "not checked because of --offline"


def test_links_within_a_cache_are_not_counted_twice(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "weights").write_bytes(bytes(2_000_000))
    (tmp_path / "snapshot").symlink_to(tmp_path / "blobs")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert surroundings._size(tmp_path) == 2_000_000


def the_cache(name: str, torch_hub: str | None = None) -> Finding:
    return next(finding for finding in surroundings.caches(torch_hub) if finding.name == name)


def test_a_cache_that_does_not_exist_is_reported_with_its_disk(tmp_path: Path) -> None:
    finding = the_cache("torch cache", str(tmp_path / "a" / "b"))
    assert finding.found.startswith(f"{tmp_path}/a/b: not created yet; ")
    assert the_cache("torch cache").status is Status.UNKNOWN


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 4 * 10**9))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    finding = the_cache("Hugging Face cache")
    assert finding.status is Status.WARNING
    assert "4.0 GB free" in finding.found
    assert "HF_HOME" in str(finding.fix)


def test_codecs_of_this_pillow() -> None:
    (pillow,) = surroundings.codecs()
    assert pillow.status is (Status.OK if "missing" not in pillow.found else Status.WARNING)
    assert "jpg" in pillow.found


@pytest.mark.parametrize(("missing", "status"), [("avif", Status.WARNING), ("jpg", Status.PROBLEM)])
def test_a_pillow_without_a_codec(monkeypatch: pytest.MonkeyPatch, missing: str, status: Status) -> None:
    monkeypatch.setattr(features, "check", lambda codec: codec != missing)
    pillow = next(iter(surroundings.codecs()))
    assert pillow.status is status
    assert pillow.found.endswith(f"missing: {missing}")
    assert str(pillow.fix).endswith("--force-reinstall pillow")


def test_the_own_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(surroundings, "_ENOUGH_FREE", 0)
    finding = the_cache("zsretrieve cache")
    assert (finding.name, finding.status) == ("zsretrieve cache", Status.OK)
    assert finding.found.startswith(f"{tmp_path / 'cache'}: not created yet; ")
    monkeypatch.setattr(surroundings.os, "access", lambda *_: False)
    finding = the_cache("zsretrieve cache")
    assert finding.status is Status.WARNING
    assert finding.fix == "export ZSRETRIEVE_CACHE=FOLDER_WITH_SPACE"
