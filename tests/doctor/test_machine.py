"""Processor and memory, read from folders laid out as Linux lays them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zsretrieve.doctor import machine
from zsretrieve.doctor.finding import Status


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    root = tmp_path / "proc"
    (root / "self").mkdir(parents=True)
    (root / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Some CPU 9000\nflags\t\t: fpu fma avx2 avx512f\n\n"
        "processor\t: 1\nmodel name\t: Some CPU 9000\nflags\t\t: fpu\n"
    )
    (root / "meminfo").write_text("MemTotal:       8000000 kB\nMemAvailable:   2000000 kB\nHugePages_Total:       0\n")
    return root


def group(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name.replace("__", ".")).write_text(f"{content}\n")


def test_groups_of_version_2_limit_from_any_height(tmp_path: Path, proc: Path) -> None:
    top = tmp_path / "cgroup"
    (proc / "self" / "cgroup").write_text("0::/slice/job\n")
    group(top)
    group(top / "slice", cpu__max="150000 100000", memory__max="max")
    group(top / "slice" / "job", cpu__max="max 100000", memory__max="1000000000")
    assert machine.cgroup_cores(proc, top) == 1.5
    assert machine.cgroup_memory(proc, top) == 1_000_000_000


def test_groups_of_version_1_limit(tmp_path: Path, proc: Path) -> None:
    top = tmp_path / "cgroup"
    (proc / "self" / "cgroup").write_text("4:memory:/docker/abc\n3:cpuacct,cpu:/docker/abc\n1:name=systemd:/\n0::/\n")
    # Within a container its own group is the top of the mount.
    group(top / "cpu", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    group(top / "memory", memory__limit_in_bytes="2000000000")
    assert machine.cgroup_cores(proc, top) == 0.5
    assert machine.cgroup_memory(proc, top) == 2_000_000_000


def test_groups_without_limits(tmp_path: Path, proc: Path) -> None:
    top = tmp_path / "cgroup"
    (proc / "self" / "cgroup").write_text("4:memory:/\n3:cpu,cpuacct:/\n")
    group(top / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    group(top / "memory", memory__limit_in_bytes="9223372036854771712")
    assert machine.cgroup_cores(proc, top) is None
    assert machine.cgroup_memory(proc, top) is None
    assert machine.cgroup_cores(tmp_path / "no", tmp_path / "no") is None


def test_the_processor_is_reported(tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cpu, features = machine.processor(proc, tmp_path / "no")
    assert cpu.found.startswith("Some CPU 9000; ")
    assert cpu.status is Status.OK
    assert features.status is Status.OK
    assert features.found == "fma avx2 avx512f; missing: avx512_bf16 amx_tile amx_bf16 amx_int8"


def test_fewer_cores_granted_than_usable_is_a_warning(
    tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (proc / "self" / "cgroup").write_text("0::/\n")
    group(tmp_path / "cgroup", cpu__max="10000 100000")
    cpu = next(iter(machine.processor(proc, tmp_path / "cgroup")))
    assert cpu.status is Status.WARNING
    assert cpu.found.endswith("the cgroup grants the time of 0.1")
    assert cpu.fix == "export OMP_NUM_THREADS=1"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert next(iter(machine.processor(proc, tmp_path / "cgroup"))).status is Status.OK


def test_a_processor_without_avx2_is_a_warning(tmp_path: Path, proc: Path) -> None:
    (proc / "cpuinfo").write_text("model name : Old\nflags : sse2\n")
    assert list(machine.processor(proc, tmp_path))[1].status is Status.WARNING


def test_elsewhere_features_are_unknown(tmp_path: Path) -> None:
    cpu, features = machine.processor(tmp_path, tmp_path)
    assert cpu.status is Status.OK
    assert str(os.cpu_count()) in cpu.found
    assert features.status is Status.UNKNOWN


def test_memory_is_reported(tmp_path: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    group(tmp_path / "cgroup", memory__max="1000000000")
    (finding,) = machine.memory(proc, tmp_path / "cgroup")
    assert finding.found == "8.2 GB, 2.0 GB available; the cgroup grants 1.0 GB"
    (elsewhere,) = machine.memory(tmp_path, tmp_path)
    assert elsewhere.found.endswith(" GB")
