"""From an open_clip model to a converted one: both towers as OpenVINO graphs, the tokenizer, and a check of all."""

from __future__ import annotations

import contextlib
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from zsretrieve.encoders import converted, openclip
from zsretrieve.encoders.converted import IMAGE, TEXT, Converted
from zsretrieve.encoders.image_tower import PlainImageTower, image_tower
from zsretrieve.encoders.naming import ModelName
from zsretrieve.encoders.openvino_engine import OpenVinoEncoder
from zsretrieve.encoders.openvino_runtime import convert_model, openvino
from zsretrieve.encoders.precision import cpu_best
from zsretrieve.encoders.text_tower import text_tower
from zsretrieve.encoders.tokenizing import InexactTokenizerError, TextTokenizer
from zsretrieve.errors import CacheError
from zsretrieve.vectors import unit_rows

# How far an element of a unit vector may be off in float32; over the families it is below 1e-5.
_MOST_OFF = 1e-4
# Libraries tell of these in errors of no type of their own.
_PASSING = re.compile("alloc|out of memory|no space left|disk quota|too many open files", re.IGNORECASE)
_SPARE_BYTES = 20_000_000
_TEXTS = ("", "a photo of a dog.", "Ünïcode, 日本語 and 🙂!", "a red circle left of a blue square, " * 30)


def convert_once(name: ModelName) -> Converted:
    """The converted model; made now if it is not there. One that cannot be converted is remembered as such.

    Raises
    ------
    ModelNameError, WeightsUnavailableError
        See ``openclip.load``.
    CacheError
        If the cache folder cannot be written.
    """
    made = converted.make_once(name, lambda folder: _convert(name, folder))
    if made.failure is None:
        # What was compiled is kept by the place of the graph, so it is compiled where it will stay.
        OpenVinoEncoder(made, precision=cpu_best()).encode_texts([""])
    return made


def _convert(name: ModelName, folder: Path) -> Converted:
    loaded = openclip.load(name)
    _refuse_if_full(loaded, folder)
    try:
        made = _write(loaded, name, folder)
        _check(loaded, made)
    except (OSError, ImportError, CacheError):
        raise  # of this moment, not of the model
    except Exception as error:  # the converter, the compiler and timm's towers raise errors of many libraries
        if isinstance(error, MemoryError) or _PASSING.search(str(error)):
            raise CacheError(
                f"'{name.written}' cannot be converted now: {' '.join(str(error).split())[:200] or 'out of memory'}",
                hint="Free memory and disk space, or use --engine torch.",
            ) from error
        shutil.rmtree(folder)
        folder.mkdir()
        return Converted(folder, name.written, failure=" ".join(str(error).split())[:300] or type(error).__name__)
    return made


def _refuse_if_full(loaded: openclip.OpenClipModel, folder: Path) -> None:
    """Raise CacheError if the towers will not fit the disk: OpenVINO does not tell that from other failures."""
    needed = _SPARE_BYTES + sum(p.numel() * 4 for p in loaded.model.parameters())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CacheError(
            f"the converted model needs {needed / 1e6:,.0f} MB, and '{folder.parent}' has {free / 1e6:,.0f} MB free",
            hint="Free some space, empty the cache (zsretrieve models cache clear), or use --engine torch.",
        )


def _write(loaded: openclip.OpenClipModel, name: ModelName, folder: Path) -> Converted:
    try:
        tokenizer = TextTokenizer.from_openclip(loaded.tokenizer)
    except InexactTokenizerError as error:
        raise RuntimeError(f"its tokenizer: {error}") from error
    height, width = loaded.space.preprocessing.size
    text = text_tower(loaded.model, tokenizer.pad_id).eval()
    image = image_tower(loaded.model, loaded.space.preprocessing).eval()
    with torch.no_grad(), warnings.catch_warnings(), _traceable_attention():
        warnings.simplefilter("ignore")  # the tracer remarks on every shape it takes for a constant
        graph = convert_model(image, example_input=torch.zeros((2, height, width, 3), dtype=torch.uint8))
        graph.reshape([-1, height, width, 3])
        openvino.save_model(graph, str(folder / IMAGE), compress_to_fp16=False)
        context = tokenizer.context_length
        # A width below the context, so that no slice is taken for the whole.
        width_of_text = 8 if text.causal else context
        tokens = torch.from_numpy(tokenizer.padded(tokenizer.ids(["a", "b c"]), width_of_text))
        graph = convert_model(text, example_input=tokens)
        graph.reshape([-1, -1 if text.causal else context])
        openvino.save_model(graph, str(folder / TEXT), compress_to_fp16=False)
    tokenizer.save(folder)
    return Converted(folder, name.written, loaded.space, loaded.head, bool(text.causal))


@contextlib.contextmanager
def _traceable_attention() -> Iterator[None]:
    """Without torch's fused attention layers, which the converter does not know and the tracer takes by chance."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _check(loaded: openclip.OpenClipModel, made: Converted) -> None:
    """Compare both towers and the tokenizer with open_clip's own. Raises RuntimeError where they differ."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, *loaded.space.preprocessing.size, 3), dtype=np.uint8)
    with torch.no_grad():
        tower = PlainImageTower(loaded.model, loaded.space.preprocessing).eval()
        images = tower(torch.from_numpy(pictures)).numpy()
        texts = loaded.model.encode_text(loaded.tokenizer(list(_TEXTS))).numpy()
    encoder = OpenVinoEncoder(made, precision="fp32", keep_compiled=False)
    alone = np.concatenate([encoder.encode_texts([text]) for text in _TEXTS])
    for what, ours, theirs in (
        ("image", encoder.encode_prepared(list(pictures)), images),
        ("text", encoder.encode_texts(_TEXTS), texts),
        ("text", alone, texts),
    ):
        off = float(np.abs(ours - unit_rows(theirs)).max())
        if not off <= _MOST_OFF:
            raise RuntimeError(f"the converted {what} tower differs by {off:.1e}")
