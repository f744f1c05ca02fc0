"""What the flags of a processor mean for the precisions that it computes in."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from zsretrieve.domain.settings import Precision
from zsretrieve.system import hardware

AVX2 = "flags\t\t: fpu sse2 avx2 fma"


@pytest.fixture(autouse=True)
def _asked_again() -> None:
    for asked in (hardware.cpu_has_bf16, hardware.cpu_has_int8):
        asked.cache_clear()


@pytest.mark.parametrize(
    ("line", "best", "int8"),
    [
        (AVX2, Precision.FP32, False),
        (f"{AVX2} avx_vnni", Precision.FP32, True),
        (f"{AVX2} avx512f avx512_vnni", Precision.FP32, True),
        (f"{AVX2} avx512f avx512_vnni avx512_bf16", Precision.BF16, True),
        (f"{AVX2} amx_tile amx_bf16 amx_int8", Precision.BF16, True),
        ("Features\t: fp asimd", Precision.FP32, False),
        ("Features\t: fp asimd asimddp bf16 i8mm", Precision.BF16, True),
        ("", Precision.FP32, True),
    ],
)
def test_precisions_of_processors(monkeypatch: pytest.MonkeyPatch, line: str, best: Precision, int8: bool) -> None:
    monkeypatch.setattr(hardware, "_cpu_info", lambda: ["model name : any", line])
    assert (hardware.cpu_best(), hardware.cpu_has_int8()) == (best, int8)
    for asked in (hardware.cpu_has_bf16, hardware.cpu_has_int8):
        asked.cache_clear()


def test_an_amd_gpu_is_for_torch_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "_NODES", ())
    monkeypatch.setattr(hardware, "_AMD_NODE", str(tmp_path))
    monkeypatch.setattr(metadata, "version", lambda _: "2.9.0+rocm6.4")
    assert (hardware.may_have_gpu(), hardware.torch_may_have_gpu()) == (False, True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not hardware.torch_may_have_gpu()


@pytest.mark.parametrize("version", ["2.9.0+cpu", "2.9.0", None])
def test_an_amd_gpu_needs_a_torch_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None) -> None:
    def found(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "_NODES", ())
    monkeypatch.setattr(hardware, "_AMD_NODE", str(tmp_path))
    monkeypatch.setattr(metadata, "version", found)
    assert not hardware.torch_may_have_gpu()
