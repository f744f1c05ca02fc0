"""Versions, distributions of FAISS and the console script, judged from metadata on disk."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from zsretrieve.doctor import packages
from zsretrieve.doctor.finding import Finding, Status, guarded
from zsretrieve.system import install_hints
from zsretrieve.system.requirements import faiss_choices

RIGHT, OTHER = (wanted.name for wanted in faiss_choices())


def distribution(root: Path, name: str, version: str, *, files: tuple[str, ...] = (), requires: str = "") -> None:
    folder = root / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires.splitlines())
    names = ("heif", "dev", "cpu", "gpu", "models") if requires else ()
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in names)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extras}{needs}")
    if files:
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that is the only one."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def found(check: object = packages.required) -> dict[str, Finding]:
    return {finding.name: finding for finding in guarded("check", check)}  # type: ignore[arg-type]


MODELS = ("torch", "open-clip-torch")
NEEDS = (
    "numpy>=2.0\npillow>=12.0\njinja2>=3.1; python_version < '3'\n"
    "pillow-heif>=1.1; extra == 'heif'\nruff; extra == 'dev'\n"
    "faiss-gpu>=1.15; sys_platform == 'linux' and platform_machine == 'x86_64' and extra == 'gpu'\n"
    "faiss-cpu>=1.15; extra == 'cpu'\ntorch>=2.9; extra == 'models'\nopen-clip-torch>=3.3; extra == 'models'"
)


def test_packages_are_compared_with_the_requirements(alone: Path) -> None:
    distribution(alone, "zsretrieve", "9.9", requires=NEEDS)
    distribution(alone, "numpy", "1.26.4")
    distribution(alone, "tokenizers", "0.20.0")
    findings = found()
    assert set(findings) == {f"package {name}" for name in ("numpy", "pillow", "pillow-heif", "tokenizers", *MODELS)}
    assert findings["package numpy"].status is Status.PROBLEM
    assert findings["package numpy"].found == "1.26.4, but numpy>=2.0 is required"
    assert str(findings["package numpy"].fix).endswith("'numpy>=2.0'")
    assert findings["package pillow"].status is Status.PROBLEM
    assert findings["package pillow"].found.startswith("not installed")
    heif = findings["package pillow-heif"]
    assert (heif.status, heif.found) == (Status.OK, "not installed; optional, for the extra 'heif'")
    assert str(heif.fix).endswith("'zsretrieve[heif]'")


def test_an_old_package_of_an_extra_is_a_warning(alone: Path) -> None:
    distribution(alone, "zsretrieve", "9.9", requires="pillow-heif>=1.1; extra == 'heif'")
    distribution(alone, "Pillow.HEIF", "0.9")
    assert found()["package pillow-heif"].status is Status.WARNING


def test_without_an_installation_the_requirements_are_not_known(alone: Path) -> None:
    assert found(packages.program)["zsretrieve"].status is Status.WARNING
    (finding,) = found().values()
    assert finding.status is Status.UNKNOWN


@pytest.fixture
def with_tool(alone: Path) -> Path:
    distribution(alone, "zsretrieve", "9.9", requires=NEEDS)
    return alone


def the_faiss() -> Finding:
    (finding,) = packages.faiss()
    return finding


def test_one_faiss_is_well(with_tool: Path) -> None:
    distribution(with_tool, RIGHT, "1.15.1", files=("faiss/__init__.py",))
    assert the_faiss() == Finding("FAISS distribution", Status.OK, f"{RIGHT} 1.15.1")


def test_no_faiss_is_a_choice(with_tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsretrieve.system.hardware.may_have_gpu", lambda: False)
    assert (the_faiss().status, the_faiss().fix) == (Status.OK, None)
    monkeypatch.setattr("zsretrieve.system.hardware.may_have_gpu", lambda: True)
    assert the_faiss().status is Status.OK
    if "faiss-gpu" in (RIGHT, OTHER):
        assert "'zsretrieve[gpu]'" in str(the_faiss().fix)


def the_models() -> Finding:
    (finding,) = packages.models()
    return finding


def test_the_models_extra_is_a_choice_and_a_part_of_it_a_warning(with_tool: Path) -> None:
    assert the_models().status is Status.OK
    assert "not installed, by choice" in the_models().found
    assert "'zsretrieve[models]'" in str(the_models().fix)
    distribution(with_tool, "torch", "2.15.0")
    assert the_models().status is Status.WARNING
    assert the_models().found.endswith("without open-clip-torch")
    distribution(with_tool, "open_clip_torch", "3.3.0")
    assert the_models() == Finding("extra models", Status.OK, "torch, open-clip-torch are installed")


@pytest.mark.parametrize("others", [("faiss-cpu", "faiss-gpu"), ("faiss-gpu-cu12", RIGHT)])
def test_two_faiss_are_a_problem(with_tool: Path, others: tuple[str, ...]) -> None:
    for name in others:
        distribution(with_tool, name, "1.15.0", files=("faiss/__init__.py",))
    finding = the_faiss()
    assert finding.status is Status.PROBLEM
    assert "faiss-gpu" in finding.found
    removal, _, addition = str(finding.fix).partition(" && ")
    assert all(name in removal.split() for name in others)
    assert addition.endswith(f" '{RIGHT}>=1.15'")


def test_the_other_faiss_of_this_platform_is_well(with_tool: Path) -> None:
    distribution(with_tool, OTHER, "1.15.1", files=("faiss/__init__.py",))
    assert the_faiss().status is Status.OK


def test_a_faiss_of_others_is_a_warning_that_does_not_add_a_second(with_tool: Path) -> None:
    other = "faiss-gpu-cu12"
    distribution(with_tool, other, "1.15.0", files=("faiss/__init__.py",))
    finding = the_faiss()
    assert finding.status is Status.WARNING
    assert "uninstall" in str(finding.fix)
    assert f" {other} && " in str(finding.fix)
    assert not [name for name in found() if "faiss" in name]


def test_an_old_faiss_is_a_problem(with_tool: Path) -> None:
    distribution(with_tool, RIGHT, "1.7.2")
    assert the_faiss().status is Status.PROBLEM


def test_a_tool_for_faiss_is_not_faiss(with_tool: Path) -> None:
    distribution(with_tool, RIGHT, "1.15.1", files=("faiss/__init__.py",))
    distribution(with_tool, "faiss-tools", "0.1", files=("faiss_tools/__init__.py",))
    assert the_faiss().status is Status.OK


def test_the_script_on_path(alone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    distribution(alone / "site", "zsretrieve", "9.9", files=("../bin/zsretrieve",))
    monkeypatch.setattr(sys, "path", [str(alone / "site")])
    own, other, linked = (tmp_path / name for name in ("bin", "other", "linked"))
    for folder in (own, other):
        folder.mkdir()
        (folder / "zsretrieve").write_text("#!/bin/sh\n")
        (folder / "zsretrieve").chmod(0o755)
    linked.mkdir()
    (linked / "zsretrieve").symlink_to(own / "zsretrieve")

    def status(path: Path) -> tuple[Status, str, str | None]:
        monkeypatch.setenv("PATH", str(path))
        (finding,) = packages.console_script()
        return finding.status, finding.found, finding.fix

    assert status(own)[0] is Status.OK
    assert status(linked)[0] is Status.OK
    away = status(tmp_path / "nowhere")
    assert away[0] is Status.WARNING
    assert away[1].endswith("is not on PATH")
    foreign = status(other)
    assert foreign[0] is Status.WARNING
    assert "another environment" in foreign[1]
    assert foreign[2] == f'export PATH={own}:"$PATH"'
    (own / "zsretrieve").unlink()
    assert "has no script" in status(other)[1]


def missing(name: str) -> None:
    raise metadata.PackageNotFoundError(name)


def test_commands_are_for_the_installer_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my env/bin/python")
    monkeypatch.setattr(metadata, "distribution", missing)
    tool = tmp_path / "uv"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_hints.install("a>=1") == "uv pip install --python '/opt/my env/bin/python' 'a>=1'"
    assert install_hints.replace(["a", "b"], "c") == (
        "uv pip uninstall --python '/opt/my env/bin/python' a b && uv pip install --python '/opt/my env/bin/python' c"
    )
    monkeypatch.setenv("PATH", os.devnull)
    assert install_hints.install("a", again=True) == "'/opt/my env/bin/python' -m pip install --force-reinstall a"


def test_the_extras_of_this_installation_are_known() -> None:
    needs = [Requirement(line).name for line in metadata.requires("zsretrieve") or ()]
    assert {"numpy", "pillow-heif"} <= set(needs)
    assert {"package numpy", "package pillow-heif"} <= set(found())
    assert "package ruff" not in found()
