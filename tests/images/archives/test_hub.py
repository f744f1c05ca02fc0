from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run
from kits.archives import digests, saved, tables
from kits.images import png

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError, OptionalDependencyError, SourceError
from zsretrieve.images import opening
from zsretrieve.system import install_hints


def test_data_sets_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = saved(tmp_path)[0]
    assert zs.open_source([where]).root == where
    with pytest.raises(SourceError, match="several splits: test, train"):
        zs.open_source([where.removesuffix(":train")])
    with pytest.raises(SourceError, match="no such split; it has test, train"):
        zs.open_source([where.replace(":train", ":val")])
    assert len(zs.open_source([where.replace(":train", ":test")]).files) == 2
    monkeypatch.chdir(tmp_path)
    assert zs.open_source(["hf:ds:test"]).origin == f"hf:{tmp_path}/ds:test"
    single = zs.open_source([f"hf:{tmp_path}/ds/test"])
    assert (len(single.files), single.origin) == (2, f"hf:{tmp_path}/ds/test")
    assert len(digests(single)) == 2
    with pytest.raises(SourceError, match="no images") as raised:
        zs.open_source([tmp_path / "ds"])
    assert "hf:" in str(raised.value.hint)
    with pytest.raises(ImageError, match="no such row"):
        opening.read(f"{where}!/6")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(OptionalDependencyError, match="datasets") as missing:
        zs.open_source([where])
    assert missing.value.hint == f"Install it with: {install_hints.install('datasets')}"


def test_a_data_set_by_name_without_a_network_says_so(tmp_path: Path, run_cli: Run) -> None:
    done = run_cli("index", "gallery", "hf:some/where:train", tmp_path / "g", "--model", "demo")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"], done.stderr
    assert "hf:some/where:train" in done.stderr


def test_a_data_set_of_files_is_loaded_as_by_name(tmp_path: Path) -> None:
    tables(tmp_path)
    code = (
        "import zsretrieve as zs\nfrom zsretrieve.images import opening\n"
        f"source = zs.open_source(['hf:{tmp_path}/data'])\n"
        "print(source.origin, len(source.files), source.files[1].label)\n"
        "print(len(opening.read(source.address(source.files[1])).data))\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"hf:{tmp_path}/data:train 14 dog", str(len(png(1)))]
