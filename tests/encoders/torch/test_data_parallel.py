from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from kits.encoder_kit import check_encoder, pictures
from kits.hashing_encoder import HashingEncoder
from kits.waiting import PATIENCE_S

from zsretrieve.domain.errors import DeviceError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.torch.data_parallel import Replicas
from zsretrieve.encoders.torch.encoder import torch_devices


class Meeting(HashingEncoder):
    """Encodes only while another one does so, too; refuses a second call at once."""

    def __init__(self, meeting: threading.Barrier) -> None:
        super().__init__()
        self.calls = 0
        self._meeting = meeting
        self._busy = threading.Lock()

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        assert self._busy.acquire(blocking=False), "one call at a time"
        try:
            self.calls += 1
            self._meeting.wait(PATIENCE_S)
            return super().encode_prepared(batch)
        finally:
            self._busy.release()


def test_replicas_conform() -> None:
    check_encoder(lambda: Replicas([HashingEncoder(), HashingEncoder()]))


def test_batches_run_at_once_each_on_an_encoder_of_its_own() -> None:
    meeting = threading.Barrier(2)
    one, other = Meeting(meeting), Meeting(meeting)
    replicas = Replicas([one, other])
    assert replicas.concurrency == 2
    prepared = [replicas.prepare(image) for image in pictures()]
    with ThreadPoolExecutor(4) as pool:  # more callers than encoders: they wait
        made = list(pool.map(replicas.encode_prepared, [prepared] * 6))
    assert (one.calls, other.calls) == (3, 3)
    for vectors in made:
        np.testing.assert_array_equal(vectors, HashingEncoder().encode_prepared(prepared))


def test_an_encoder_that_fails_stays_in_turn() -> None:
    class Failing(HashingEncoder):
        def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
            raise DeviceError("out of memory", hint="")

    replicas = Replicas([Failing()])
    for _ in range(3):
        with pytest.raises(DeviceError, match="out of memory"):
            replicas.encode_prepared([replicas.prepare(pictures()[0])])


def test_replicas_are_of_one_space_and_name_their_devices() -> None:
    assert Replicas([HashingEncoder(), HashingEncoder()]).encoding.device == "cpu,cpu"
    for wrong in ([], [HashingEncoder(), HashingEncoder(seed=1)]):
        with pytest.raises(ValueError, match="the same embedding space"):
            Replicas(wrong)


def test_lists_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert torch_devices("auto") == ["auto"]
    assert torch_devices("cuda:1") == ["cuda:1"]
    assert torch_devices("cuda:0, cuda:2") == ["cuda:0", "cuda:2"]
    assert torch_devices("cuda:all") == ["cuda:0", "cuda:1", "cuda:2"]
    for wrong in ("cuda:0,cpu", "cuda:0,cuda:0", "cuda:0,", "cuda:all,cuda:0"):
        with pytest.raises(DeviceError):
            torch_devices(wrong)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match="sees 0 GPUs"):
        torch_devices("cuda:all")
