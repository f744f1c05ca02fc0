"""Fixtures: real parts, made small. Models have random weights from a fixed seed; nothing is fetched."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from kits import forked
from PIL import Image

# No test may wait for a hub: what is not on this machine must fail at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Converted models are kept for this run alone, and shared by all processes of it.
os.environ["ZSRETRIEVE_CACHE"] = (
    os.environ["ZSRETRIEVE_CACHE"]
    if "PYTEST_XDIST_WORKER" in os.environ
    else tempfile.mkdtemp(prefix="zsretrieve-cache-")
)
# Indexes by name belong to this run alone, too.
os.environ["ZSRETRIEVE_DATA"] = str(Path(os.environ["ZSRETRIEVE_CACHE"]) / "data")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.demo import scenes
from zsretrieve.demo.scenes import Scene
from zsretrieve.domain.ports import Encoder

# The first call of a library is slow, and so is a busy machine.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TOGETHER = ("tests/cluster/", "tests/web/page/", "tests/gallery/tuning/")
# What takes longest, so that no process has it left to do in the end.
FIRST = (
    *TOGETHER,
    "tests/test_benchmarks.py",
    "tests/training/test_images.py",
    "tests/encoders/openvino/test_model_cache.py",
    "tests/encoders/openvino/test_encoder.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-pictures", action="store_true", help="write the images of the page into docs/images")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, one in enumerate(FIRST) if item.nodeid.startswith(one)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """The tests of a folder of ``TOGETHER`` share what takes long to make; all others are distributed by file."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((one for one in TOGETHER if nodeid.startswith(one)), super()._split_scope(nodeid))

    return ByFileOrFolder(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_sessionfinish() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["ZSRETRIEVE_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def library_log() -> Iterator[None]:
    """A command that runs in this process sets up the log for a terminal; the next test finds it untouched."""
    yield
    log = logging.getLogger("zsretrieve")
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True


@pytest.fixture(scope="session")
def demo_encoder() -> Encoder:
    return zs.Model("demo", zs.Compute(device="cpu", precision="fp32")).load()


@pytest.fixture(scope="session")
def hashing_encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture(scope="session")
def backend() -> FaissBackend:
    return FaissBackend("cpu")


@pytest.fixture(scope="session")
def drawn_scenes() -> list[Scene]:
    """Three scenes of each of the 120 classes, none of them in the demo's gallery or in training."""
    rng = random.Random(77)
    return [scenes.single(name, rng) for name in scenes.class_names() for _ in range(3)]


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory, drawn_scenes: list[Scene]) -> Path:
    """An ImageFolder of 360 scenes as PNG."""
    root = tmp_path_factory.mktemp("scenes")
    for number, scene in enumerate(drawn_scenes):
        path = root / scene.class_name / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        scenes.draw(scene).save(path)
    return root


@pytest.fixture(scope="session")
def odd_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photo-like pictures of odd sizes and modes, flat in one folder."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    sizes = [(500, 375), (64, 64), (63, 65), (1, 1), (1, 90), (200, 3), (37, 411), (640, 480), (129, 128), (20, 20)]
    modes = ["RGB", "L", "CMYK", "P", "RGBA", "LA", "1"]
    for number in range(42):
        width, height = sizes[number % len(sizes)]
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        mode = modes[number % len(modes)]
        if mode in ("RGBA", "LA"):
            image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
        image = image.convert(mode)
        suffix = "jpg" if mode in ("CMYK", "RGB", "L") else "png"
        image.save(root / f"photo-{number:02}-{mode}.{suffix}")
    return root


@pytest.fixture(scope="session")
def run_cli(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the command line in a process of its own.

    The processes are forked from one that has imported the heavy libraries and computed nothing, which saves each
    of them the seconds of that import; the tests of starting and of interrupting use fresh interpreters.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(forked.PRELOADED)
    told = tmp_path_factory.mktemp("told")

    def run(*args: str | Path, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        paths = [told / name for name in ("stdin", "stdout", "stderr")]
        paths[0].write_text(stdin)
        words = [str(arg) for arg in args]
        # Those of the test, not of the first one which ran a command.
        places = {name: os.environ[name] for name in ("ZSRETRIEVE_CACHE", "ZSRETRIEVE_DATA")}
        process = context.Process(target=forked.command_line, args=(words, cwd or Path.cwd(), paths, places))
        process.start()
        process.join(300)
        assert process.exitcode is not None, "the command hangs"
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(words, code, paths[1].read_text(), paths[2].read_text())

    return run


@pytest.fixture(scope="session")
def scene_gallery(
    tmp_path_factory: pytest.TempPathFactory, scene_folder: Path, hashing_encoder: HashingEncoder
) -> Path:
    """A gallery of 360 scenes encoded by the hashing encoder, which tests only read."""
    out = tmp_path_factory.mktemp("scene") / "gallery"
    zs.build_gallery(scene_folder, out, hashing_encoder)
    return out


@pytest.fixture
def small_gallery(tmp_path: Path, scene_gallery: Path) -> Path:
    """The same for one test, which may change it."""
    return Path(shutil.copytree(scene_gallery, tmp_path / "gallery"))
