"""Converting an open_clip model: both towers to OpenVINO graphs, the tokenizer, and a check of all three."""

from __future__ import annotations

import contextlib
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from zsretrieve.domain.errors import CacheError
from zsretrieve.domain.settings import Compute, Precision
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders.catalog.model_name import ModelName
from zsretrieve.encoders.openvino import model_cache
from zsretrieve.encoders.openvino.conversion import refuse_if_full
from zsretrieve.encoders.openvino.encoder import OpenVinoEncoder
from zsretrieve.encoders.openvino.fused_image_tower import PlainImageTower, image_tower
from zsretrieve.encoders.openvino.model_cache import IMAGE, TEXT, ConvertedModel
from zsretrieve.encoders.openvino.runtime import convert_model, openvino
from zsretrieve.encoders.text.tokenizer import InexactTokenizerError, TextTokenizer
from zsretrieve.encoders.torch import loading
from zsretrieve.encoders.torch.text_tower import text_tower

# The largest difference of an element of a unit vector in float32; for all tested families it is below 1e-5.
_MOST_OFF = 1e-4
# Libraries raise no specific errors for these.
_TEMPORARY = re.compile("alloc|out of memory|no space left|disk quota|too many open files", re.IGNORECASE)
_TEXTS = ("", "a photo of a dog.", "Ünïcode, 日本語 and 🙂!", "a red circle left of a blue square, " * 30)


def convert_once(name: ModelName) -> ConvertedModel:
    """The converted model, converted now if need be, or the record that it cannot be converted.

    Raises
    ------
    ModelNameError, WeightsUnavailableError
        See ``zsretrieve.encoders.torch.loading.load``.
    CacheError
        If the cache folder cannot be written.
    """
    model = model_cache.make_once(name, lambda folder: _convert(name, folder))
    if model.failure is None:
        # OpenVINO caches by the path of the graph, so it is compiled in its final place.
        OpenVinoEncoder(model, Compute()).encode_texts([""])
    return model


def _convert(name: ModelName, folder: Path) -> ConvertedModel:
    loaded = loading.load(name)
    refuse_if_full(folder, sum(p.numel() * 4 for p in loaded.model.parameters()))
    try:
        model = _write(loaded, name, folder)
        _check(loaded, model)
        return model
    except (OSError, ImportError, CacheError):
        raise  # due to the circumstances, not to the model
    except Exception as error:  # the converter, the compiler and timm's towers raise errors of many libraries
        if isinstance(error, MemoryError) or _TEMPORARY.search(str(error)):
            raise CacheError(
                f"'{name.written}' cannot be converted now: {' '.join(str(error).split())[:200] or 'out of memory'}",
                hint="Free memory and disk space, or use `engine` torch.",
            ) from error
        shutil.rmtree(folder)
        folder.mkdir()
        return ConvertedModel(folder, name.written, failure=" ".join(str(error).split())[:300] or type(error).__name__)


def _write(loaded: loading.OpenClipModel, name: ModelName, folder: Path) -> ConvertedModel:
    try:
        tokenizer = TextTokenizer.from_openclip(loaded.tokenizer)
    except InexactTokenizerError as error:
        raise RuntimeError(f"its tokenizer: {error}") from error
    height, width = loaded.space.preprocessing.size
    text = text_tower(loaded.model, tokenizer.pad_id).eval()
    image = image_tower(loaded.model, loaded.space.preprocessing).eval()
    with torch.no_grad(), warnings.catch_warnings(), _traceable_attention():
        warnings.simplefilter("ignore")  # the tracer warns about every shape it takes for a constant
        graph = convert_model(image, example_input=torch.zeros((2, height, width, 3), dtype=torch.uint8))
        graph.reshape([-1, height, width, 3])
        openvino.save_model(graph, str(folder / IMAGE), compress_to_fp16=False)
        context = tokenizer.context_length
        # A width below the context, so that no slice is optimised away.
        width_of_text = 8 if text.causal else context
        tokens = torch.from_numpy(tokenizer.padded(tokenizer.ids(["a", "b c"]), width_of_text))
        graph = convert_model(text, example_input=tokens)
        graph.reshape([-1, -1 if text.causal else context])
        openvino.save_model(graph, str(folder / TEXT), compress_to_fp16=False)
    tokenizer.save(folder)
    return ConvertedModel(folder, name.written, loaded.space, loaded.head, bool(text.causal))


@contextlib.contextmanager
def _traceable_attention() -> Iterator[None]:
    """Without torch's fused attention layers, which the converter does not know and the tracer takes at random."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _check(loaded: loading.OpenClipModel, model: ConvertedModel) -> None:
    """Compare both towers and the tokenizer with open_clip's own. Raises RuntimeError where they differ."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, *loaded.space.preprocessing.size, 3), dtype=np.uint8)
    with torch.no_grad():
        tower = PlainImageTower(loaded.model, loaded.space.preprocessing).eval()
        images = tower(torch.from_numpy(pixels)).numpy()
        texts = loaded.model.encode_text(loaded.tokenizer(list(_TEXTS))).numpy()
    encoder = OpenVinoEncoder(model, Compute(precision=Precision.FP32), cache_compiled=False)
    alone = np.concatenate([encoder.encode_texts([text]) for text in _TEXTS])
    for what, ours, theirs in (
        ("image", encoder.encode_prepared(list(pixels)), images),
        ("text", encoder.encode_texts(_TEXTS), texts),
        ("text", alone, texts),
    ):
        off = float(np.abs(ours - unit_rows(theirs)).max())
        if not off <= _MOST_OFF:
            raise RuntimeError(f"the converted {what} tower differs by {off:.1e}")
