"""Every command of docs/sources.md is run, on small pictures under the names that the page uses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Run
from kits.archives import write_parquet, write_tar, write_zip
from kits.images import png
from kits.servers import serving

PAGE = (Path(__file__).parent.parent / "docs" / "sources.md").read_text(encoding="utf-8")
COMMANDS = [
    line[2:]
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    pictures = {"cat/1.png": png(1), "dog/2.png": png(2), "cat/3.png": png(3)}
    for name, data in pictures.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    (tmp_path / "list.txt").write_text("photos/cat/1.png\n")
    write_zip(tmp_path / "photos.zip", pictures)
    (tmp_path / "shards").mkdir()
    for number in range(2):
        write_tar(tmp_path / "shards" / f"train-000{number}.tar", {"1.png": png(number), "1.cls": b"0"})
    write_tar(tmp_path / "val.tar", {"ILSVRC2012_val_00000001.JPEG": png(1)})
    (tmp_path / "truth.txt").write_text("ILSVRC2012_val_00000001.JPEG 1\n")
    write_parquet(tmp_path / "tables" / "validation-00000-of-00001.parquet", [png(1), png(2)], pa.array([0, 1]))
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": png(1), "path": None}], "label": [1]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole, "validation": whole}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path


def test_the_page_s_commands_run(folder: Path, run_cli: Run) -> None:
    assert len(COMMANDS) >= 12
    made = run_cli("index", "prototypes", "indexes/classes", "--classes", "cat,dog", "--model", "demo", cwd=folder)
    assert made.returncode == 0, made.stderr
    with serving(folder) as url:
        for command in COMMANDS:
            program, *words = shlex.split(command.replace("http://127.0.0.1:8000", url))
            assert program == "zsretrieve"
            done = run_cli(*words, cwd=folder)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            assert "skipped" not in done.stderr, f"{command}\n{done.stderr}"
