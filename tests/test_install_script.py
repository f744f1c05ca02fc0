"""What scripts/install asks the installer for, by the machine and by what is there already."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from zsretrieve.system.hardware import may_have_gpu
from zsretrieve.system.requirements import requirements

ROOT = Path(__file__).parent.parent
GPU = may_have_gpu() and bool(requirements("gpu"))
RIGHT, OTHER = ("gpu", "cpu") if GPU else ("cpu", "gpu")
# Writes down what it is asked for, and makes the environment.
UV = """#!/bin/sh
echo "$@" >>asked
[ "$1" != venv ] || { mkdir -p .venv/bin && printf '#!/bin/sh\\n' >.venv/bin/python && chmod +x .venv/bin/python; }
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "uv").write_text(UV)
    (tmp_path / "tools" / "uv").chmod(0o755)
    return tmp_path


def install(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (checkout / "asked").write_text("")
    path = f"{checkout / 'tools'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [checkout / "scripts" / "install", *words], env={**os.environ, "PATH": path, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def asked(checkout: Path) -> list[str]:
    return (checkout / "asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("words", "variables", "target"),
    [
        ([], {}, ".[gpu,models]" if GPU else "."),
        ([], {"CUDA_VISIBLE_DEVICES": ""}, "."),
        (["dev"], {}, f".[dev,{RIGHT}]"),
        (["dev"], {"CUDA_VISIBLE_DEVICES": "-1"}, ".[dev,cpu]"),
        (["heif,report"], {}, ".[heif,report]"),
        (["dev,gpu"], {}, ".[dev,gpu]"),
    ],
)  # fmt: skip
def test_faiss_is_taken_by_the_machine(
    checkout: Path, words: list[str], variables: dict[str, str], target: str
) -> None:
    assert install(checkout, *words, **variables).returncode == 0
    assert asked(checkout)[-1].endswith(f"--editable {target}")
    assert not any("uninstall" in line for line in asked(checkout))
    assert install(checkout, *words, **variables).returncode == 0
    assert asked(checkout) == []


def test_what_dev_holds_is_not_installed_again(checkout: Path) -> None:
    assert install(checkout, "dev").returncode == 0
    for words in ([], ["heif"], [RIGHT]):
        assert install(checkout, *words).returncode == 0
        assert asked(checkout) == []
    assert install(checkout, OTHER).returncode == 0
    assert asked(checkout)[-1].endswith(f".[{OTHER}]")


def test_two_builds_of_faiss_are_refused(checkout: Path) -> None:
    done = install(checkout, "cpu,gpu")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: cpu and gpu are two builds of FAISS that own the same files",
        f"hint: name one of them; this machine takes {RIGHT}",
    ]
    assert asked(checkout) == []


def test_the_other_build_of_faiss_goes_before_one_comes(checkout: Path) -> None:
    (checkout / ".venv" / "lib" / "python3.12" / "site-packages" / f"faiss_{OTHER}-1.15.1.dist-info").mkdir(
        parents=True
    )
    assert install(checkout, "dev").returncode == 0
    removal, addition = asked(checkout)[-2:]
    assert removal.endswith("faiss-cpu faiss-gpu")
    assert "uninstall" in removal
    assert addition.endswith(f".[dev,{RIGHT}]")
    assert install(checkout, "heif").returncode == 0
    assert not any("uninstall" in line for line in asked(checkout))


def test_extras_are_one_word(checkout: Path) -> None:
    done = install(checkout, "heif,", "report")
    assert (done.returncode, asked(checkout)) == (1, [])
    assert done.stderr.splitlines() == [
        "error: extras must be one argument, got: heif, report",
        "hint: join them with commas: scripts/install heif,report",
    ]
    assert install(checkout, "heif,").returncode == 0
    assert asked(checkout)[-1].endswith(".[heif]")


def test_an_unknown_extra_is_refused(checkout: Path) -> None:
    done = install(checkout, "models,nothing")
    assert (done.returncode, asked(checkout)) == (1, [])
    assert "error: there is no extra 'nothing'" in done.stderr
    assert " models " in done.stderr
