from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsretrieve.backends import faiss_gpu, gpu_probe


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    gpu_probe._known.clear()
    yield
    gpu_probe._known.clear()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The outcomes of the process that tries, from the last to the first."""
    answers: list[str | None] = []
    monkeypatch.setattr(gpu_probe, "_try", lambda number: answers.pop())
    return answers


@pytest.mark.skipif(bool(faiss_gpu.count()), reason="FAISS sees a GPU on this machine")
def test_the_process_that_tries_fails_without_a_gpu() -> None:
    failure = gpu_probe._try(0)
    assert failure is not None
    assert failure.startswith("exited with code 1: ")
    assert "No module named" not in failure


@pytest.mark.gpu
@pytest.mark.skipif(not faiss_gpu.count(), reason="FAISS sees no GPU on this machine")
def test_the_process_that_tries_searches_on_a_gpu(tmp_path: Path) -> None:
    assert gpu_probe.failure(0, tmp_path) is None
    assert "null" in (tmp_path / "faiss-gpus.json").read_text()


def test_it_is_cached_in_this_process_and_for_later_ones(tmp_path: Path, asked: list[str | None]) -> None:
    asked += ["SIGABRT", None]
    folder = tmp_path / "not" / "there"
    assert [gpu_probe.failure(0, folder), gpu_probe.failure(1, folder)] == [None, "SIGABRT"]
    assert [gpu_probe.failure(0, folder), gpu_probe.failure(1, folder)] == [None, "SIGABRT"]
    gpu_probe._known.clear()
    assert [gpu_probe.failure(0, folder), gpu_probe.failure(1, folder)] == [None, "SIGABRT"]
    assert [path.name for path in folder.iterdir()] == ["faiss-gpus.json"]


@pytest.mark.parametrize("kept", [False, True])
def test_a_failure_is_tried_again_after_a_while(
    tmp_path: Path, asked: list[str | None], monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """In the same process, too, such as that of a server."""
    asked += [None, "out of memory"]
    cache = tmp_path if kept else None
    for _ in range(2):
        assert gpu_probe.failure(0, cache) == "out of memory"
    monkeypatch.setattr(gpu_probe, "_FAILURE_HOLDS_S", 0.0)
    for _ in range(2):
        assert gpu_probe.failure(0, cache) is None


def test_a_note_says_that_it_is_being_tried(
    tmp_path: Path, asked: list[str | None], caplog: pytest.LogCaptureFixture
) -> None:
    asked += [None]
    with caplog.at_level("INFO", "zsretrieve"):
        for _ in range(2):
            gpu_probe.failure(3, tmp_path)
    assert caplog.messages == ["trying FAISS on GPU 3 ..."]


def test_another_faiss_or_driver_is_tried_again(
    tmp_path: Path, asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked += [None, "SIGABRT"]
    assert gpu_probe.failure(0, tmp_path) == "SIGABRT"
    (tmp_path / "version").write_text("NVRM version: another\nGCC version: 13\n")
    monkeypatch.setattr(gpu_probe, "_DRIVER", tmp_path)
    assert gpu_probe._circumstances()[-1] == "NVRM version: another"
    assert gpu_probe.failure(0, tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b'{"a": 1}', b'{"a": [null]}', b'{"a": [1, "x"]}'])
def test_a_damaged_file_is_ignored(tmp_path: Path, asked: list[str | None], content: bytes) -> None:
    asked.append("SIGABRT")
    (tmp_path / "faiss-gpus.json").write_bytes(content)
    assert gpu_probe.failure(0, tmp_path) == "SIGABRT"
    assert len(json.loads((tmp_path / "faiss-gpus.json").read_text())) == 1


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, asked: list[str | None]) -> None:
    asked.append("SIGABRT")
    (tmp_path / "file").touch()
    assert gpu_probe.failure(0, tmp_path / "file") == "SIGABRT"


def test_the_search_that_is_tried_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Index:
        found: Any = (np.array([[1.0]]), np.array([[3]]))

        def add(self, vectors: np.ndarray) -> None:
            assert vectors.shape == (8, 32)

        def search(self, queries: np.ndarray, k: int) -> Any:
            return self.found

    monkeypatch.setattr(faiss_gpu, "empty_index", lambda dim, number, half: Index())
    gpu_probe._search(0)
    for wrong in ((np.array([[1.0]]), np.array([[2]])), (np.array([[np.nan]]), np.array([[3]]))):
        monkeypatch.setattr(Index, "found", wrong)
        with pytest.raises(SystemExit, match="wrong answer"):
            gpu_probe._search(0)
