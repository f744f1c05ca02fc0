"""What clip-retrieval publishes: its client, its front end and the code of its server, out of its wheel.

Wheels are fetched as files and never installed: this one wants older versions of what zsretrieve uses.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import faiss
import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.vectors import Vectors


@dataclass(frozen=True)
class Wheel:
    """A published wheel, which is fetched as a file."""

    name: str
    version: str
    digest: str
    tags: str = "py3-none-any"

    @property
    def file(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tags}.whl"


CLIP_RETRIEVAL = Wheel("clip-retrieval", "2.45.0", "07f52947727b75fa0b22f0f938f352c90ea0f4fa3d4c0b2e3d284a42c1a497e4")
CLIP_BENCHMARK = Wheel(
    "clip-benchmark", "1.6.2", "6fbfd39b454a036a628b7e227b3d4050015009afe418583f21f27886c74e4998", "py2.py3-none-any"
)
# Whatever of this the machine has; an environment that uv made has no pip of its own.
_PIPS = ([sys.executable, "-m", "pip"], ["pip"], ["uvx", "pip"])


def unpacked(folder: Path, wanted: Wheel = CLIP_RETRIEVAL) -> Path:
    """The wheel's files in a folder. Skips the test if the wheel is not here and cannot be fetched."""
    kept = Path(platformdirs.user_cache_dir("zsretrieve-tests")) / wanted.file
    if not kept.exists() or hashlib.sha256(kept.read_bytes()).hexdigest() != wanted.digest:
        reason = _fetched(kept, wanted)
        if reason is not None:
            pytest.skip(f"{wanted.name} {wanted.version} cannot be fetched: {reason}")
    with zipfile.ZipFile(kept) as wheel:
        wheel.extractall(folder)
    return folder


@cache
def _fetched(kept: Path, wanted: Wheel) -> str | None:
    """Fetch the wheel; why that failed, None if it did not."""
    reason = "there is no pip"
    words = ["download", "--no-deps", "--only-binary", ":all:", "--timeout", "15", "--retries", "1", "--quiet"]
    for pip in _PIPS:
        if shutil.which(pip[0]) is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [*pip, *words, "--dest", folder, f"{wanted.name}=={wanted.version}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                found = Path(folder) / wanted.file
                assert hashlib.sha256(found.read_bytes()).hexdigest() == wanted.digest, "the wheel is another one"
                kept.parent.mkdir(parents=True, exist_ok=True)
                part = kept.with_suffix(f".{os.getpid()}")
                shutil.copyfile(found, part)
                part.replace(kept)
                return None
        reason = (done.stderr.strip().splitlines() or [reason])[-1]
    return reason


def client_module(wheel: Path) -> Any:
    """The module of its Python client."""
    return module_of(wheel / "clip_retrieval" / "clip_client.py", {})


@dataclass(frozen=True)
class Described:
    """An image in the metadata of its server."""

    url: str
    image_path: str
    caption: str


class Peer:
    """The code of its server behind its own addresses, without the web framework around it.

    Parameters
    ----------
    wheel : Path
        The files of the wheel.
    folder : Path
        For its index and its metadata.
    encoder : Encoder
        Takes the place of the model.
    vectors : (n, dim) float32
    described : sequence of Described
        One per vector.
    """

    def __init__(
        self, wheel: Path, folder: Path, encoder: Encoder, vectors: Vectors, described: list[Described]
    ) -> None:
        (folder / "metadata").mkdir(parents=True)
        table = pa.Table.from_pylist([{**vars(one), "unasked": 1} for one in described])
        pq.write_table(table, folder / "metadata" / "metadata_0.parquet")
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        faiss.write_index(index, str(folder / "image.index"))
        self._request = mock.Mock()
        self._back = module_of(wheel / "clip_retrieval" / "clip_back.py", _stand_ins(self._request))
        provider, _ = self._back.load_metadata_provider(str(folder), False, False, None, None, False)
        # All that its load_clip_index gives, but for the model.
        resource = self._back.ClipResource(
            device="cpu", model=_Model(encoder), preprocess=lambda image: torch.from_numpy(encoder.prepare(image)),
            tokenizer=_Tokens, model_txt_mclip=None, safety_model=None, violence_detector=None,
            metadata_provider=provider, image_index=self._back.load_index(str(folder / "image.index"), False),
            text_index=None, ivf_old_to_new_mapping=None,
            columns_to_return=["url", "image_path", "caption", "NSFW"], metadata_is_ordered_by_ivf=False,
            aesthetic_embeddings=None,
        )  # fmt: skip
        self._resources = {folder.name: resource}

    def post(self, place: str, body: Mapping[str, Any]) -> Any:
        """The answer of ``/knn-service`` or ``/metadata``."""
        kind = {"/knn-service": self._back.KnnService, "/metadata": self._back.MetadataService}[place]
        self._request.get_json.return_value = dict(body)
        return kind(clip_resources=self._resources).post()


class _Tokens(list[str]):
    def to(self, _device: str) -> _Tokens:
        return self


class _Model:
    """An encoder as a model of open_clip."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def encode_text(self, texts: _Tokens) -> torch.Tensor:
        return torch.from_numpy(self._encoder.encode_texts(texts).copy())

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._encoder.encode_prepared(list(batch.numpy())).copy())


class _Untimed(contextlib.ContextDecorator):
    """Where it measures times."""

    def __init__(self, *_: object) -> None:
        pass

    def time(self) -> _Untimed:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _stand_ins(request: Any) -> dict[str, Any]:
    """What its server imports and no answer depends on."""
    web = ("flask_cors", "werkzeug", "werkzeug.middleware", "werkzeug.middleware.dispatcher")
    others = ("fire", "h5py", "clip_retrieval", "clip_retrieval.ivf_metadata_ordering")
    return {
        **{name: mock.MagicMock() for name in (*web, *others)},
        "flask": mock.MagicMock(request=request),
        "flask_restful": mock.MagicMock(Resource=object),
        "prometheus_client": mock.MagicMock(Histogram=_Untimed),
    }


def module_of(file: Path, stand_ins: Mapping[str, Any]) -> Any:
    """A file of a wheel as a module, with something else in place of what it imports."""
    spec = importlib.util.spec_from_file_location(f"peer_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    # Its data classes look themselves up in the list of modules.
    with mock.patch.dict(sys.modules, {**stand_ins, spec.name: module}):
        spec.loader.exec_module(module)
    return module
