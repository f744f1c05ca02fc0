"""The documents say what is so: the reference equals --help, and what the README shows is run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_command_line_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cli_reference", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_an_example_in_its_help() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for section in reference.split("\n## ")[2:]:
        name = section.splitlines()[0]
        assert f"Example: {name}" in section or "COMMAND [ARGS]" in section, name


@pytest.fixture(scope="module")
def after_the_demo(tmp_path_factory: pytest.TempPathFactory, run_cli: Run) -> Path:
    here = tmp_path_factory.mktemp("reader")
    done = run_cli("demo", cwd=here)
    assert done.returncode == 0, done.stderr
    shown = blocks("text")[0]
    for line in (line.strip() for line in shown.splitlines()):
        if "ensemble of" in line or "Report with" in line or "Search:" in line:
            assert line in done.stdout, f"the README shows '{line}'"
    return here


def test_the_readme_s_commands_run(after_the_demo: Path, run_cli: Run) -> None:
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 10
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "zsretrieve"
        done = run_cli(*words, cwd=after_the_demo)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_readme_s_python_runs(after_the_demo: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=after_the_demo, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Prec@1 0\.99\d\d = 59\d / 600, 0 skipped$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("page", [p.relative_to(ROOT).as_posix() for p in ROOT.glob("*.md")] + [
    p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")
])  # fmt: skip
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_second_run_of_the_scripts_installs_nothing() -> None:
    """Only where the scripts made the environment that runs this; elsewhere there is nothing to say."""
    environment = ROOT / ".venv"
    if not list(environment.glob(".installed*")) or Path(sys.prefix).resolve() != environment.resolve():
        pytest.skip("this environment was not made by scripts/install")
    install = ["sh", str(ROOT / "scripts" / "install"), "dev"]
    subprocess.run(install, capture_output=True, check=True)
    before = {p: p.stat().st_mtime_ns for p in environment.glob(".installed*")}
    done = subprocess.run(install, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert {p: p.stat().st_mtime_ns for p in environment.glob(".installed*")} == before


@pytest.mark.skipif(shutil.which("git") is None, reason="git tells which files are the project's")
def test_nothing_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pattern = re.compile(r"(?<![\w.~-])/(home|root|work|tmp)/\w|pypi\.org|pythonhosted|npmjs")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.suffix in {".safetensors", ".jpg", ".png"} or path == Path(__file__) or not path.is_file():
            continue
        found = pattern.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{name}: {found}"
