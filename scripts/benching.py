"""What the benchmarks share: the machine, measuring processes in turn, models with random weights, a report.

A benchmark alternates between the plain way and ours within one run: a shared machine is slow for minutes and fast for
minutes, so only the ratio of two figures from one run is meaningful.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_PACKAGES = (
    "zsretrieve", "numpy", "torch", "open_clip_torch", "openvino", "faiss-gpu", "faiss-cpu", "tokenizers", "pyarrow",
    "pillow",
)  # fmt: skip
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")
# What a class of processors computes with, the best first.
_CLASSES = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 with bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
# What others are installed from, in environments of their own.
OPEN_CLIP = ("open_clip_torch==3.3.0",)
CLIP_RETRIEVAL = ("clip-retrieval==2.45.0", "numpy<2", "setuptools<81")
# More is better in these units, less in all others.
_RATES = frozenset({"img/s", "prompts/s", "queries/s", "rows/s", "TFLOP/s", "GB/s"})


@dataclass(frozen=True)
class Run:
    """One whole process. ``peak_bytes`` is its peak resident memory, ``cpu`` the seconds that its threads ran."""

    seconds: float
    peak_bytes: int
    stdout: str
    cpu: float


@dataclass
class Row:
    """One line of a report: repeated figures, what they are compared with, and the requirement."""

    what: str
    figures: list[float]
    unit: str
    median: float
    peak_bytes: int | None = None
    against: str | None = None
    ratio: float | None = None
    wanted: str | None = None
    met: bool | None = None


@dataclass
class Report:
    """The results of a benchmark.

    Parameters
    ----------
    title : str
    settings : dict
        What was measured: sizes, model, options.
    """

    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        figures: Sequence[float],
        unit: str = "s",
        *,
        against: str | None = None,
        ratio_at_least: float | None = None,
        at_most: float | None = None,
        at_least: float | None = None,
        peak_bytes: int | None = None,
    ) -> Row:
        """Add a line.

        Parameters
        ----------
        what : str
            Its name, by which later lines may refer to it.
        figures : sequence of float
            One per repetition.
        unit : str
            ``img/s``, ``prompts/s``, ``queries/s``, ``rows/s``, ``TFLOP/s``, ``GB/s``: more is better. Any other:
            less is better.
        against : str, optional
            The line to compare with. The ratio is how many times better this one is.
        ratio_at_least, at_most, at_least : float, optional
            Requirements for the ratio, or for the median.
        peak_bytes : int, optional
        """
        median = statistics.median(figures)
        row = Row(what, list(figures), unit, median, peak_bytes, against)
        if against is not None:
            other = next(row for row in self.rows if row.what == against)
            row.ratio = median / other.median if unit in _RATES else other.median / median
        wanted = []
        if ratio_at_least is not None and row.ratio is not None:
            wanted.append((f"at least {ratio_at_least:g} times", row.ratio >= ratio_at_least))
        if at_most is not None:
            wanted.append((f"at most {at_most:g} {unit}", median <= at_most))
        if at_least is not None:
            wanted.append((f"at least {at_least:g} {unit}", median >= at_least))
        if wanted:
            row.wanted = ", ".join(words for words, _ in wanted)
            row.met = all(met for _, met in wanted)
        self.rows.append(row)
        return row

    def finish(self, file: Path | None = None) -> None:
        """Print the report, and write it as JSON."""
        from rich import box
        from rich.console import Console
        from rich.table import Table

        known = machine()
        console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
        console.print(self.title, style="bold", markup=False)
        for name, value in {**known, **self.settings}.items():
            console.print(f"  {name}: {value}", markup=False, soft_wrap=True)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("what", "median", "of", "least", "most", "peak memory", "times better", "wanted"):
            table.add_column(column, justify="left" if column in ("what", "wanted") else "right", overflow="fold")
        for row in self.rows:
            table.add_row(
                row.what,
                f"{row.median:.4g} {row.unit}",
                str(len(row.figures)),
                f"{min(row.figures):.4g}",
                f"{max(row.figures):.4g}",
                "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f} MB",
                "" if row.ratio is None else f"{row.ratio:.2f} x {row.against}",
                "" if row.wanted is None else f"{row.wanted}: {'yes' if row.met else 'NO'}",
            )
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, soft_wrap=True)
        if file is not None:
            self.write(file)

    def write(self, file: Path) -> None:
        """Write the report as JSON."""
        content = {**asdict(self), "machine": machine()}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def arguments(doc: str | None, *, repeats: int = 7, model: str = "ViT-B-32") -> argparse.ArgumentParser:
    """The options common to all benchmarks."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, metavar="N", help="how often each side is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument(
        "--model", default=model, metavar="NAME",
        help="an architecture, which gets random weights, or the name of any model (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep generated files here, to use them again")
    return parser


@contextlib.contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """The folder for generated files: the given one, which stays, or a temporary one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="zsretrieve-bench-") as folder:
        yield Path(folder)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    entries = _cpuinfo()
    flags = entries.get("flags", "").split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "CPU": f"{entries.get('model name') or platform.machine()}, {cores} cores, "
        f"{' '.join(name for name in _FEATURES if name in flags)}",
        "memory": f"{memory / 1e9:.0f} GB",
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
    if gpus := _gpus():
        known["GPU"] = gpus
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**known, "packages": ", ".join(versions)}


def cpu_class() -> str:
    """The best instructions that the processor has, such as ``AVX2``: times of two classes cannot be compared."""
    flags = _cpuinfo().get("flags", "").split()
    return next((name for flag, name in _CLASSES.items() if flag in flags), platform.machine())


def environment(folder: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment that holds packages, made with uv unless it exists."""
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", "3.11", folder], check=True)
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *packages], check=True)
        complete.touch()
    return python


def process(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Run:
    """Run a program and measure it from start to end. Exits if it fails.

    A small process starts it (``_launch``), because the peak that the system reports is at least that of the parent.
    """
    words = [str(word) for word in command]
    # Compiled modules are kept, as Python does by default.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", __file__, *words],
        env={**surroundings, **(env or {})}, cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    head, _, rest = done.stderr.rpartition("\n")
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\nexited with {done.returncode}: {head[-2000:]}")
    seconds, peak, cpu = json.loads(rest)
    return Run(seconds, peak, done.stdout, cpu)


def in_turn(sides: Mapping[str, Callable[[], Any]], repeats: int, *, warm_ups: int = 1) -> dict[str, list[Any]]:
    """Call all sides once, then again, and so on; what each returned, without the first ``warm_ups``."""
    results: dict[str, list[Any]] = {name: [] for name in sides}
    for number in range(warm_ups + repeats):
        for name, side in sides.items():
            returned = side()
            if number >= warm_ups:
                results[name].append(returned)
    return results


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """A side for ``in_turn`` that measures how long something takes in this process."""

    def timed() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return timed


def model_name(given: str, work: Path) -> str:
    """The model to measure: a name stays as it is, an architecture becomes a model with random weights."""
    if given == "demo" or any(sign in given for sign in "/,:"):
        return given
    return f"local-dir:{random_model(given, work / f'model-{given}')}"


def open_clip_name(model: str) -> tuple[str, str | None]:
    """What open_clip's own functions take for a model of zsretrieve: a name, and a tag or a checkpoint."""
    from zsretrieve.encoders.catalog.model_name import NameForm, parse_model_name

    name = parse_model_name(model)
    return name.open_clip_name, name.rest if name.form in (NameForm.TAG, NameForm.CHECKPOINT) else None


def random_model(arch: str, folder: Path, seed: int = 0) -> Path:
    """Write an open_clip architecture with random weights as a ``local-dir:`` model, unless it exists.

    A process of its own makes it, so that torch does not add to the memory of this one.
    """
    if not (folder / "open_clip_model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        code = f"import benching; benching._write_model({arch!r}, {str(folder)!r}, {seed})"
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)
    return folder


def _write_model(arch: str, place: str, seed: int) -> None:
    import logging

    import open_clip
    import torch
    from safetensors.torch import save_file

    logging.disable(logging.WARNING)  # about random weights
    folder = Path(place)
    config = open_clip.get_model_config(arch)
    if config is None:
        sys.exit(f"open_clip has no architecture '{arch}'")
    preprocessing: dict[str, Any] = {}
    if "hf_tokenizer_name" in config["text_cfg"]:
        _write_tokenizer(folder, config["text_cfg"]["vocab_size"])
        preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    written = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(written, indent=1))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    part = folder / "open_clip_model.safetensors.part"
    save_file(weights, part)
    part.rename(folder / "open_clip_model.safetensors")


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Instead of a tokenizer that needs a download: one token per byte, ended and padded with </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    signs = ["<unk>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    assert len(signs) <= vocabulary
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(signs)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor."""
    lines = _text("/proc/cpuinfo").split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _gpus() -> str:
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        return "; ".join(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines())
    except (OSError, subprocess.CalledProcessError):
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _launch(command: Sequence[str]) -> int:
    """Run a program, and print its seconds, its peak memory and its processor time as the last line of stderr."""
    start = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    took = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    sys.stderr.write(f"\n{json.dumps([took, peak, used.ru_utime + used.ru_stime])}")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_launch(sys.argv[1:]))
