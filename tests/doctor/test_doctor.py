"""The command as a whole, its guard, and its probes: crashes, hangs and wrong results are reported as such."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zsretrieve.cli.app import app
from zsretrieve.doctor import engines
from zsretrieve.doctor.finding import Diagnosis, Finding, Status, anonymous, guarded
from zsretrieve.doctor.outcomes import Outcome, Outcomes, read
from zsretrieve.system.hardware import cpu_best
from zsretrieve.system.trial import Trial

STATUSES = {"ok", "warning", "problem", "unknown"}
GOOD_TORCH = {"torch": "2.15.0", "cuda": None, "gpus": [], "step": "engine"}
GOOD_FAISS = {"faiss": "1.15.1", "options": ["AVX2"], "kernels": "AVX2", "step": "cpu_search"}


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a user hears whose home folder has weights in an old place."""
    home = tmp_path_factory.mktemp("homes") / "grace"
    (home / ".cache" / "clip").mkdir(parents=True)
    (home / ".cache" / "clip" / "weights").write_bytes(bytes(3_000_000))
    kept = {
        name: value for name, value in os.environ.items() if name not in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-m", "zsretrieve", "doctor", "--offline", "--format", "json"],
        env={**kept, "HOME": str(home), "USER": "grace"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (0 if found["healthy"] else 1)
    assert done.stderr == ""
    assert "grace" not in done.stdout
    return found


def by_name(diagnosis: dict[str, object]) -> dict[str, dict[str, str]]:
    findings = diagnosis["findings"]
    assert isinstance(findings, list)
    return {finding["name"]: finding for finding in findings}


def test_this_machine_is_examined(diagnosis: dict[str, object]) -> None:
    import torch

    assert set(diagnosis) == {"zsretrieve", "healthy", "counts", "findings"}
    findings = by_name(diagnosis)
    for finding in findings.values():
        assert set(finding) == {"name", "status", "found", "fix"}
        assert finding["status"] in STATUSES
        assert finding["found"]
        assert "\n" not in finding["found"]
    # This environment runs these very tests, so its engines work.
    for name in ("torch", "torchvision", "FAISS", "FAISS search on the CPU", "package numpy"):
        assert findings[name]["status"] == "ok", findings[name]
    assert findings["torch"]["found"].startswith(torch.__version__)
    for name in ("Intel GPU", "Intel NPU"):
        assert findings[name]["status"] == "ok", findings[name]
    assert findings["Hugging Face hub"]["found"] == "not checked because of --offline"
    if torch.cuda.is_available():
        assert findings["engine for models"]["found"].endswith("on cuda")
        assert findings["GPU of torch"]["status"] == "ok"
    else:
        assert findings["engine for models"]["found"] == f"auto is openvino in {cpu_best()} on cpu"


def test_what_auto_chooses_is_what_models_get(diagnosis: dict[str, object]) -> None:
    import zsretrieve as zs

    made = zs.Model("demo").load().encoding
    found = by_name(diagnosis)["engine for models"]["found"]
    assert found == f"auto is {made.engine} in {made.precision} on {made.device}"


@pytest.mark.gpu
def test_the_gpu_is_tried(diagnosis: dict[str, object]) -> None:
    findings = by_name(diagnosis)
    if findings["GPU of FAISS"]["found"].startswith("none"):
        pytest.skip("no GPU that FAISS sees")
    assert findings["FAISS search on the GPU"]["status"] == "ok"


def test_two_distributions_of_faiss_are_a_problem_of_the_whole(tmp_path: Path) -> None:
    for name in ("faiss_cpu", "faiss_gpu"):
        folder = tmp_path / f"{name}-1.15.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.15.0\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "zsretrieve", "doctor", "--offline"],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "To fix:" in done.stdout
    fix = next(line for line in done.stdout.splitlines() if "faiss-cpu faiss-gpu &&" in line)
    assert " uninstall " in fix.split("&&")[0]
    assert " install " in fix.split("&&")[1]
    assert " problem" in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout


def test_problems_come_first_and_packages_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = (
        Finding("package numpy", Status.OK, "2.0"),
        Finding("package pillow", Status.OK, "12.0"),
        Finding("package heif", Status.OK, "not installed", "add heif"),
        Finding("CPU", Status.OK, "fast"),
        Finding("GPU", Status.WARNING, "hidden", "unset it"),
        Finding("package scipy", Status.PROBLEM, "missing", "install scipy"),
    )
    monkeypatch.setattr("zsretrieve.doctor.examine", lambda offline: Diagnosis("1", findings))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    rows = [line.split() for line in done.output.splitlines() if line.split()[:1] and line.split()[0] in STATUSES]
    assert [row[:2] for row in rows] == [
        ["problem", "package"], ["warning", "GPU"], ["ok", "CPU"], ["ok", "packages"],
    ]  # fmt: skip
    assert rows[-1][2:] == ["2", "installed,", "1", "optional", "ones", "not;", "-v", "lists", "them"]
    assert [line.strip() for line in done.output.splitlines()[-6:-1]] == [
        "To fix:", "package scipy", "install scipy", "GPU", "unset it",
    ]  # fmt: skip
    every = CliRunner().invoke(app, ["-v", "doctor"]).output
    assert "package numpy" in every
    assert "add heif" in every


def test_a_check_that_raises_is_unknown_and_keeps_what_it_found() -> None:
    def check() -> Iterator[Finding]:
        yield Finding("first", Status.OK, "fine")
        raise PermissionError(13, "Permission denied", "/sys/secret")

    first, second = guarded("second", check)
    assert first == Finding("first", Status.OK, "fine")
    assert (second.name, second.status) == ("second", Status.UNKNOWN)
    assert second.found.startswith("the check failed: PermissionError: ")


def test_only_a_problem_makes_it_unhealthy() -> None:
    mild = (Finding("a", Status.WARNING, "x"), Finding("b", Status.UNKNOWN, "y"))
    assert Diagnosis("1", mild).healthy
    assert not Diagnosis("1", (*mild, Finding("c", Status.PROBLEM, "z"))).healthy


def test_people_are_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "ada"
    (tmp_path / "link").symlink_to(home)
    home.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    monkeypatch.setenv("USER", "ada")
    assert anonymous(f"{tmp_path}/link/.cache: 3 MB") == "~/.cache: 3 MB"
    assert anonymous(f"in {home}/.cache") == "in ~/.cache"
    assert anonymous(f"PATH={home}/bin") == "PATH=~/bin"
    assert anonymous(f"'{home}/my env/bin/python' -m pip") == "~/'my env/bin/python' -m pip"
    assert anonymous(f"{home}-other/x") == f"{home}-other/x"
    assert anonymous("/scratch/ada/env and /scratch/adam") == "/scratch/$USER/env and /scratch/adam"
    assert anonymous("https://ada:secret@mirror.example/x") == "https://mirror.example/x"


def test_a_home_that_is_the_root_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.delenv("LOGNAME", raising=False)
    assert anonymous("/opt/cache") == "/opt/cache"


def test_the_home_folder_is_not_in_the_report(diagnosis: dict[str, object]) -> None:
    findings = by_name(diagnosis)
    assert findings["Hugging Face cache"]["found"].startswith("~/.cache/huggingface/hub: not created yet; ")
    assert findings["open_clip cache"]["found"].startswith("~/.cache/clip: 3.0 MB; ")
    assert findings["torch cache"]["found"].startswith("~/.cache/torch/hub: not created yet; ")


def probed(code: str, limit_s: float = 60) -> Outcome:
    with Trial([sys.executable, "-c", code], limit_s) as trial:
        return read(*trial.outcome())


REPORTS = "import json, os, sys, time\ndef report(**facts):\n    print(json.dumps(facts), flush=True)\n"
LOADED = f"{REPORTS}report(**{GOOD_FAISS!r})\n"


def searched(outcome: Outcome) -> Finding:
    return list(engines.faiss(Outcomes(Outcome(GOOD_TORCH), outcome, None)))[-1]


def test_a_crash_is_reported_as_a_crash() -> None:
    outcome = probed(f"{LOADED}os.abort()")
    assert outcome.failure is not None
    assert outcome.failure.startswith("crashed (SIGABRT)")
    assert outcome.facts == GOOD_FAISS
    finding = searched(outcome)
    assert finding.status is Status.PROBLEM
    assert "crashed (SIGABRT)" in finding.found
    assert finding.fix is not None


def test_a_hang_is_reported_as_a_hang_and_leaves_no_process() -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nreport(child=child.pid)\ntime.sleep(600)"
    outcome = probed(f"{LOADED}{child}", limit_s=5)
    assert outcome.failure == "did not answer within 5 s"
    finding = searched(outcome)
    assert finding.status is Status.PROBLEM
    assert "did not answer within 5 s" in finding.found
    if "child" in outcome.facts and Path(f"/proc/{outcome.facts['child']}/stat").exists():
        # Dead, though nobody may have fetched its exit code.
        assert Path(f"/proc/{outcome.facts['child']}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("answer", ["[7, 1.0]", "[42, 0.5]", "[42, float('nan')]", "[-1, 0.0]"])
def test_a_wrong_answer_is_reported_as_a_wrong_answer(answer: str) -> None:
    finding = searched(probed(f"{LOADED}report(cpu_search={answer})"))
    assert finding.status is Status.PROBLEM
    assert finding.found.startswith("wrong answer: row ")


def test_a_right_answer_is_right() -> None:
    assert searched(probed(f"{LOADED}report(cpu_search=[42, 1.0])")).status is Status.OK


def test_what_was_not_reached_is_unknown() -> None:
    outcome = probed(f"{REPORTS}report(faiss='1.15.1', options=[], step='faiss')\nos.abort()")
    finding = searched(outcome)
    assert finding.status is Status.UNKNOWN
    assert "crashed (SIGABRT)" in finding.found
    assert "in its step 'faiss'" in finding.found


def test_an_exit_code_is_reported_with_the_last_complaint() -> None:
    outcome = probed("import sys\nprint('noise')\nsys.exit('No devices were found')")
    assert outcome.failure == "exited with code 1: No devices were found"
    assert outcome.lines == ("noise",)
