"""The commands of the whole jobs that `scripts/bench_peers` measures: of zsretrieve, of the loop, of clip-retrieval.

Run by itself it is a side of that benchmark: the parts of zsretrieve that need a process of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benching
import numpy as np

K = 10
QUERY = "a dog on a beach"
TEMPLATES = "openai7"
_LOOP = Path(__file__).with_name("tutorial_loop.py")


@dataclass(frozen=True)
class Jobs:
    """What is to be done, where, and by which environments."""

    work: Path
    model: str
    photos: Path
    classes: Path
    vectors: Path
    queries: Path
    loop_python: Path
    peer_python: Path | None

    def ours(self, *words: object, env: dict[str, str] | None = None) -> benching.Run:
        """A command of ours, or a side of this file."""
        command = [__file__] if words[0] in _SIDES else ["-m", "zsretrieve"]
        cache = {"ZSRETRIEVE_CACHE": str(self.work / "cache"), "HF_HUB_OFFLINE": "1"}
        return benching.process([sys.executable, *command, *map(str, words)], env={**cache, **(env or {})})

    def loop(self, *words: object) -> benching.Run:
        return benching.process([self.loop_python, _LOOP, *map(str, words)], env={"HF_HUB_OFFLINE": "1"})

    def peer(self, command: str, **options: object) -> benching.Run:
        """A command of clip-retrieval."""
        assert self.peer_python is not None
        words = [f"--{name}={value}" for name, value in options.items()]
        return benching.process([self.peer_python.with_name("clip-retrieval"), command, *words])

    @property
    def open_clip(self) -> str:
        return benching.open_clip_name(self.model)[0]

    def fresh(self, name: str) -> Path:
        """The place of an output, empty."""
        place = self.work / "out" / name
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def our_photos(jobs: Jobs, precision: str, env: dict[str, str] | None = None) -> benching.Run:
    out = jobs.fresh(f"gallery-{precision}")
    return jobs.ours(
        "index",
        "gallery",
        jobs.photos,
        out,
        "--model",
        jobs.model,
        "--device",
        "cpu",
        "--precision",
        precision,
        env=env,
    )


def our_prototypes(jobs: Jobs, precision: str) -> benching.Run:
    for kept in (jobs.work / "cache").glob("prompts.sqlite3*"):
        kept.unlink()
    words = ("--classes", jobs.classes, "--templates", TEMPLATES, "--model", jobs.model)
    out = jobs.fresh(f"prototypes-{precision}")
    return jobs.ours("index", "prototypes", out, *words, "--device", "cpu", "--precision", precision)


def our_search(jobs: Jobs, precision: str) -> benching.Run:
    gallery = jobs.work / "out" / f"gallery-{precision}"
    words = ("--no-query-cache", "--device", "cpu", "--precision", precision)
    return jobs.ours("search", gallery, QUERY, "-k", K, "--paths", *words)


def our_start(jobs: Jobs, precision: str) -> benching.Run:
    return jobs.ours("start", jobs.photos, jobs.fresh("started"), jobs.model, precision)


def loop_photos(jobs: Jobs) -> benching.Run:
    out = jobs.fresh("loop")
    out.mkdir()
    return jobs.loop("gallery", jobs.open_clip, jobs.photos, out)


def loop_prototypes(jobs: Jobs) -> benching.Run:
    templates = jobs.work / "templates.txt"
    return jobs.loop("prototypes", jobs.open_clip, jobs.classes, templates, jobs.work / "out" / "loop-prototypes.npy")


def peer_photos(jobs: Jobs) -> benching.Run:
    """Its two commands, one after the other."""
    vectors, index = jobs.fresh("peer-vectors"), jobs.fresh("peer-index")
    folder = Path(jobs.model.removeprefix("local-dir:"))
    name = f"open_clip:{folder.name.removeprefix('model-')}/{folder}/open_clip_model.safetensors"
    encoded = jobs.peer(
        "inference", input_dataset=jobs.photos, output_folder=vectors, clip_model=name, enable_text=False
    )
    indexed = jobs.peer("index", embeddings_folder=vectors, index_folder=index)
    peak = max(encoded.peak_bytes, indexed.peak_bytes)
    return benching.Run(encoded.seconds + indexed.seconds, peak, "", encoded.cpu + indexed.cpu)


def start(photos: str, out: str, model: str, precision: str) -> None:
    """Build a gallery until the compiled model gets its first batch, and end."""
    from zsretrieve.__main__ import main as command_line
    from zsretrieve.encoders.openvino import encoder

    class Ready:
        def create_infer_request(self) -> None:
            os._exit(0)

    def compiled(*words: Any, real: Callable[..., Any] = encoder._compile, **options: Any) -> Ready:
        real(*words, **options)
        return Ready()

    encoder._compile = compiled
    sys.argv = ["zsretrieve", "index", "gallery", photos, out, "--model", model, "--device", "cpu"]
    sys.argv += ["--precision", precision]
    command_line()


def forward(photos: str, model: str, precision: str) -> None:
    """Print the seconds of the model alone, on the pixels of all photos."""
    import zsretrieve as zs
    from zsretrieve.images.content import read_file
    from zsretrieve.images.decoding import decode

    encoder: Any = zs.Model(model, zs.Compute("cpu", precision)).load()
    paths = sorted(Path(photos).rglob("*.jpg"))
    pixels = [encoder.prepare(decode(read_file(str(path)), zs.Reading()).image) for path in paths]
    batches = [pixels[at : at + encoder.batch_size] for at in range(0, len(pixels), encoder.batch_size)]
    encoder.encode_prepared(batches[0])
    began, ran = time.perf_counter(), time.process_time()
    for batch in batches:
        encoder.encode_prepared(batch)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - ran}))


def queries(gallery: str, asked: str, k: str, repeats: str) -> None:
    """Print the seconds of all queries at once, time after time, and the rows that they find."""
    import zsretrieve as zs

    opened, some, took, found = zs.open_gallery(gallery), list(np.load(asked)), [], []
    for _ in range(1 + int(repeats)):
        began = time.perf_counter()
        found = zs.search_all(opened, some, k=int(k))
        took.append(time.perf_counter() - began)
    rows = [[hit.id for hit in hits] for hits in found]
    print(json.dumps({"seconds": took[1:], "rows": rows}))


_SIDES: dict[object, Callable[..., None]] = {"start": start, "forward": forward, "queries": queries}

if __name__ == "__main__":
    _SIDES[sys.argv[1]](*sys.argv[2:])
