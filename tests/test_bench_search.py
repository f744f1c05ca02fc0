"""What ``scripts/bench_search`` measured before it failed is not lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from zsretrieve.backends import faiss_gpu

ROOT = Path(__file__).parent.parent


def test_a_gpu_that_is_not_there_costs_no_figures(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    words = ["--rows", "300", "--dim", "16", "--repeats", "1", "--device", "cuda", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench_search", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if faiss_gpu.count():
        assert done.returncode == 0, done.stderr
    else:
        assert "MissingGpuError: there is no device 'cuda': FAISS sees 0 GPUs" in done.stderr
    assert "zsretrieve, 1 query" in [row["what"] for row in json.loads(file.read_text())["rows"]]
