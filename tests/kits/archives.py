"""Archives of small pictures, and reading all of a source in several ways."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kits.images import png
from zsretrieve.images import opening
from zsretrieve.images.sources import Source

Content = dict[str, bytes]


def write_tar(path: Path, content: Content, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_zip(path: Path, content: Content) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number, (name, data) in enumerate(content.items()):
            how = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            file.writestr(name, data, how)
    return path


def write_parquet(path: Path, images: list[bytes | None], label: pa.Array, **options: object) -> Path:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    values = [None if data is None else {"bytes": data, "path": None} for data in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(values, kind), "label": label})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def two_tars(folder: Path) -> list[str]:
    for shard in range(2):
        content = {}
        for number in range(shard * 3, shard * 3 + 3):
            content[f"n{number:04}.png"] = png(number)
            content[f"n{number:04}.cls"] = str(number).encode()
        write_tar(folder / f"train-{shard:04}.tar", content)
    return [f"{folder}/train-{{0000..0001}}.tar"]


def one_zip(folder: Path) -> list[str]:
    return [str(write_zip(folder / "photos.zip", {f"{'ab'[n % 2]}/x {n}.png": png(n) for n in range(5)}))]


def tables(folder: Path) -> list[str]:
    for number in range(2):
        images = [png(10 * number + row) for row in range(7)]
        write_parquet(
            folder / "data" / f"train-{number:05}-of-00002.parquet",
            images, pa.array([row % 2 for row in range(7)]), row_group_size=3,
        )  # fmt: skip
    return [str(folder / "data")]


def saved(folder: Path) -> list[str]:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": png(n), "path": None} for n in range(6)], "label": [n % 2 for n in range(6)]}
    train = datasets.Dataset.from_dict(rows, features=features)
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": train, "test": train.select(range(2))}).save_to_disk(str(folder / "ds"))
    return [f"hf:{folder}/ds:train"]


KINDS = {"tar": two_tars, "zip": one_zip, "parquet": tables, "hf": saved}


def digest_of(address: str) -> str:
    return hashlib.sha256(opening.read(address).data).hexdigest()


def digests(source: Source, threads: int = 8) -> list[str]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(digest_of, map(source.address, source.files)))


def digests_in_a_fresh_process(source: Source, cwd: Path) -> list[str]:
    code = (
        "import sys, json, hashlib\n"
        "from zsretrieve.images import opening\n"
        "root, paths = json.load(sys.stdin)\n"
        "for path in paths:\n"
        "    print(hashlib.sha256(opening.read(opening.join(root, path)).data).hexdigest())\n"
    )
    asked = json.dumps([source.root, [file.path for file in source.files]])
    done = subprocess.run(
        [sys.executable, "-c", code], input=asked, cwd=cwd, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.split()
