"""The documents are right: the reference equals --help, links lead somewhere, and the examples run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run
from kits.web import running

import zsretrieve

ROOT = Path(__file__).parent.parent
GETTING_STARTED = "docs/getting-started.md"
SERVER = "http://127.0.0.1:7878"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    return [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]


def test_the_command_line_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cli_reference", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_an_example_and_tables_of_its_options() -> None:
    for section in read("docs/cli.md").split("\n## ")[2:]:
        name = section.splitlines()[0]
        assert f"```sh\n{name}" in section or "COMMAND [ARGS]" in section, name
        assert "\n| options | |\n|---|---|\n| `" in section, name


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory, run_cli: Run) -> Path:
    """Where a reader has run the demo, and has some photos."""
    folder = tmp_path_factory.mktemp("reader")
    done = run_cli("demo", cwd=folder)
    assert done.returncode == 0, done.stderr
    shown = blocks(GETTING_STARTED, "text")[0]
    for line in (line.strip() for line in shown.splitlines()):
        if "ensemble of" in line or "Report with" in line or "Search:" in line:
            assert line in done.stdout, f"{GETTING_STARTED} shows '{line}'"
    shutil.copytree(folder / "indexes" / "demo" / "scenes" / "red heart", folder / "photos")
    shutil.copy(folder / "photos" / "1.jpg", folder / "photos" / "beach.jpg")
    return folder


@pytest.mark.parametrize(("page", "least"), [(GETTING_STARTED, 20), ("README.md", 5)])
def test_the_commands_of_a_page_run(page: str, least: int, demo_folder: Path, run_cli: Run) -> None:
    """The README's gallery of photos takes the bundled model, since the default one must be downloaded."""
    assert len(commands(page)) >= least
    for command in commands(page):
        program, *words = shlex.split(command)
        assert program == "zsretrieve"
        if words[:2] == ["search", "photos"]:
            words += ["--model", "demo"]
        done = run_cli(*words, cwd=demo_folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_no_command_is_run_twice() -> None:
    assert not set(commands("README.md")) & set(commands(GETTING_STARTED))


def run_python(page: str, folder: Path, *, address: str = "") -> str:
    """What the blocks of a page print, run as one program; with ``address`` in place of the server's on the page."""
    code = "\n".join(blocks(page, "python"))
    assert code
    if address:
        assert SERVER in code
        code = code.replace(SERVER, address)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_s_python_runs(demo_folder: Path) -> None:
    printed = run_python("README.md", demo_folder)
    assert re.search(r"^Prec@1 0\.99\d\d = 59\d / 600, 0 skipped$", printed, re.MULTILINE)


def test_the_python_page_runs(demo_folder: Path) -> None:
    printed = run_python("docs/python.md", demo_folder)
    assert "5 added" in printed
    assert "indexes/missing" in printed


def test_the_client_page_runs(demo_folder: Path) -> None:
    (serve,) = commands("docs/client.md")
    assert serve.startswith("zsretrieve serve ")
    words = [demo_folder / word if word.startswith("indexes/") else word for word in shlex.split(serve)[2:]]
    with running(*words, "--write") as server:
        printed = run_python("docs/client.md", demo_folder, address=server.address)
    assert "gallery 660 demo" in printed
    assert "red circle/" in printed
    assert re.search(r"^Prec@1 9\d\.\d\d%, 6\d\d images$", printed, re.MULTILINE)
    assert "660 unchanged" in printed


def test_the_python_page_names_every_public_name() -> None:
    assert set(re.findall(r"`zs\.(\w+)", read("docs/python.md"))) == set(zsretrieve.__all__)


@pytest.mark.parametrize("page", [p.relative_to(ROOT).as_posix() for p in ROOT.glob("*.md")] + [
    p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")
])  # fmt: skip
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", read(page)):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_second_run_of_the_scripts_installs_nothing() -> None:
    """Only where scripts/install made the environment that runs this."""
    environment = ROOT / ".venv"
    if not list(environment.glob(".installed*")) or Path(sys.prefix).resolve() != environment.resolve():
        pytest.skip("this environment was not made by scripts/install")
    install = ["sh", str(ROOT / "scripts" / "install"), "dev"]
    subprocess.run(install, capture_output=True, check=True)
    before = {p: p.stat().st_mtime_ns for p in environment.glob(".installed*")}
    done = subprocess.run(install, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert {p: p.stat().st_mtime_ns for p in environment.glob(".installed*")} == before


@pytest.mark.skipif(shutil.which("git") is None, reason="git lists the project's files")
def test_nothing_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pattern = re.compile(r"(?<![\w.~-])/(home|root|work|tmp)/\w|pypi\.org|pythonhosted|npmjs")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.suffix in {".safetensors", ".jpg", ".png"} or path == Path(__file__) or not path.is_file():
            continue
        found = pattern.search(path.read_bytes().decode("utf-8", "replace"))
        assert found is None, f"{name}: {found}"
