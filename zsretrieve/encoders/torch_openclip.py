"""The Encoder port over torch and open_clip: every model that open_clip opens, on CPU and CUDA."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from zsretrieve.encoders.hub import offline_if_unreachable, why_missing
from zsretrieve.encoders.naming import ModelName, NameForm, parse_model_name, tag_identity
from zsretrieve.encoders.registry import check_tag, common_to_tags, tag_activation
from zsretrieve.errors import DeviceError, ImageError, ModelNameError, WeightsUnavailableError
from zsretrieve.ports import Pixels
from zsretrieve.records import Encoding, Head, Preprocessing, ScoreHead, Space, TextContext
from zsretrieve.vectors import Vectors, unit_rows

PRECISIONS = ("auto", "fp32", "bf16")
_TEXT_BATCH = 256
# At 224 pixels this side ratio makes a picture of 30 MB on its way to the crop.
_MAX_ASPECT = 200
_TOKENIZER_FILES = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "special_tokens_map.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
    }
    | {"spiece.model", "sentencepiece.bpe.model", "tokenizer.model"}
)


class TorchEncoder:
    """An open_clip model behind the Encoder port.

    Parameters
    ----------
    name : str
        ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``local-dir:PATH``, ``ARCH/CHECKPOINT`` or ``demo``.
    device : str
        ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, fp32 on the CPU.
    batch_size : int, optional
        Pictures a batch; 64 on the CPU and 256 on CUDA by default.

    Raises
    ------
    ModelNameError
        If there is no such model; the nearest names are in the hint.
    WeightsUnavailableError
        If its weights are neither cached nor to be downloaded, or do not fit the model.
    DeviceError
        If the device or precision is not there.
    """

    def __init__(
        self, name: str, *, device: str = "auto", precision: str = "auto", batch_size: int | None = None
    ) -> None:
        parsed = parse_model_name(name)
        self._device = resolve_device(device)
        self._precision = _resolve_precision(precision, self._device)
        with offline_if_unreachable() if parsed.may_download else contextlib.nullcontext() as offline:
            self._model = _load(parsed, offline).to(self._device).eval()
            self._tokenizer = _tokenizer(parsed, offline)
        config = open_clip.transform.PreprocessCfg(**self._model.visual.preprocess_cfg)
        self._preprocess = open_clip.transform.image_transform_v2(config, is_train=False)
        self.space = _space(parsed, self._model, config, self._tokenizer)
        self.head = _head(self._model)
        self.encoding = Encoding("torch", self._precision, str(self._device))
        self.batch_size = batch_size or (256 if self._device.type == "cuda" else 64)

    def prepare(self, image: Image.Image) -> Pixels:
        """open_clip's own preprocessing: float32 of shape (3, height, width).

        Raises
        ------
        ImageError
            If the picture is so thin that resizing its shorter side would make it enormous.
        """
        shorter, longer = sorted(image.size)
        if self.space.preprocessing.resize_mode == "shortest" and longer > _MAX_ASPECT * shorter:
            raise ImageError(f"too thin to be resized: {image.width} x {image.height} pixels")
        pixels: Pixels = self._preprocess(image).numpy()
        return pixels

    def encode_prepared(self, batch: Sequence[Pixels]) -> Vectors:
        if not batch:
            return np.empty((0, self.space.dim), dtype=np.float32)
        images = torch.from_numpy(np.stack(batch)).to(self._device)
        with self._numerics():
            vectors = self._model.encode_image(images)
        return unit_rows(vectors.float().cpu().numpy())

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        parts = [np.empty((0, self.space.dim), dtype=np.float32)]
        for start in range(0, len(texts), _TEXT_BATCH):
            tokens = self._tokenizer(list(texts[start : start + _TEXT_BATCH])).to(self._device)
            with self._numerics():
                vectors = self._model.encode_text(tokens)
            parts.append(unit_rows(vectors.float().cpu().numpy()))
        return np.concatenate(parts)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        if isinstance(self._tokenizer, open_clip.tokenizer.SimpleTokenizer):
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]
        if not texts:
            return []
        clean = getattr(self._tokenizer, "clean_fn", lambda text: text)
        return [len(ids) for ids in self._tokenizer.tokenizer([clean(text) for text in texts]).input_ids]

    @contextlib.contextmanager
    def _numerics(self) -> Iterator[None]:
        """No gradients; bf16 by autocast; in fp32 no TF32, which cuDNN would otherwise use without a word.

        ``no_grad`` rather than ``inference_mode``, under which autocast does not cache its casts of the weights.
        """
        with torch.no_grad(), contextlib.ExitStack() as stack:
            if self._precision == "bf16":
                stack.enter_context(torch.autocast(self._device.type, dtype=torch.bfloat16))
            elif self._device.type == "cuda":
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise DeviceError(
                    f"the device '{self._device}' is out of memory",
                    hint="Give a smaller --batch-size, or --device cpu.",
                ) from error


def automatic_encoding() -> Encoding:
    """What ``auto`` for device and precision becomes on this machine."""
    device = resolve_device("auto")
    return Encoding("torch", _resolve_precision("auto", device), str(device))


def resolve_device(device: str) -> torch.device:
    """``auto`` to a device of this machine. Raises DeviceError if the one asked for is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"'{device}' is not a device", hint="Use auto, cpu, cuda or cuda:0.") from error
    if resolved.type not in ("cpu", "cuda"):
        raise DeviceError(f"the device '{device}' is not supported", hint="Use auto, cpu, cuda or cuda:0.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no device '{device}': torch sees {torch.cuda.device_count()} GPUs", hint="Use --device cpu."
        )
    return resolved


def _resolve_precision(precision: str, device: torch.device) -> str:
    if precision not in PRECISIONS:
        raise DeviceError(f"'{precision}' is not a precision", hint=f"Use {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def _load(name: ModelName, offline: str | None) -> Any:
    options: dict[str, Any] = {}
    pretrained = None
    if name.form is NameForm.TAG:
        check_tag(str(name.arch), name.rest, name.written)
        pretrained = name.rest
        # The activation belongs to the weights. open_clip only warns when the architecture's default differs.
        options["quick_gelu"] = tag_activation(str(name.arch), name.rest) == "quick_gelu"
    elif name.form is NameForm.CHECKPOINT:
        check_tag(str(name.arch), None, name.written)
        pretrained = name.rest
        common = common_to_tags(str(name.arch))
        options["quick_gelu"] = common.activation == "quick_gelu"
        options["force_preprocess_cfg"] = common.preprocessing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="QuickGELU mismatch")
        try:
            return open_clip.create_model(
                name.open_clip_name, pretrained=pretrained, require_pretrained=True, output_dict=False, **options
            )
        except Exception as error:  # hub, safetensors, torch and timm each have their own
            raise _loading_error(name, error, offline) from error


def _loading_error(name: ModelName, error: Exception, offline: str | None) -> Exception:
    reason = " ".join(str(error).split())
    if not isinstance(error, RuntimeError | ValueError):
        reason = f"{type(error).__name__}: {reason}"
    if name.form in (NameForm.LOCAL, NameForm.CHECKPOINT):
        return WeightsUnavailableError(
            f"the weights of '{name.written}' cannot be loaded: {reason[:300]}",
            hint="Check that configuration and weights belong together.",
        )
    if name.form is NameForm.HUB and ("404" in reason or "not found" in reason.lower()):
        return ModelNameError(
            f"there is no open_clip model '{name.written}' on the hub", hint="Check the repository's name."
        )
    return WeightsUnavailableError(
        f"the weights of '{name.written}' cannot be had: {why_missing(error, offline)}",
        hint="Check the network and HF_HUB_OFFLINE, or use a model on disk (local-dir:PATH) or the bundled one (demo).",
    )


def _tokenizer(name: ModelName, offline: str | None) -> Any:
    try:
        return open_clip.get_tokenizer(name.open_clip_name)
    except Exception as error:  # likewise
        raise WeightsUnavailableError(
            f"the tokenizer of '{name.written}' cannot be had: {why_missing(error, offline)}",
            hint="Check the network and HF_HUB_OFFLINE; a local-dir model needs its tokenizer files beside it.",
        ) from error


def _space(name: ModelName, model: Any, config: Any, tokenizer: Any) -> Space:
    size = config.size if isinstance(config.size, tuple | list) else (config.size, config.size)
    kind = type(tokenizer).__name__
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    return Space(
        model=name.written if name.form is not NameForm.TAG else f"{name.arch}/{name.rest}",
        weights=_weights_identity(name),
        dim=_dim(model),
        activation="quick_gelu" if _uses_quick_gelu(model) else "gelu",
        preprocessing=Preprocessing(
            size=(int(size[0]), int(size[1])),
            mean=tuple(float(v) for v in config.mean),
            std=tuple(float(v) for v in config.std),
            interpolation=config.interpolation,
            resize_mode=config.resize_mode,
            fill_color=int(config.fill_color),
        ),
        text=TextContext(f"{kind}:{clean.strip('_').removeprefix('clean_')}", int(tokenizer.context_length)),
    )


def _dim(model: Any) -> int:
    tokens = torch.zeros((1, model.context_length), dtype=torch.long, device=model.logit_scale.device)
    with torch.no_grad():
        return int(model.encode_text(tokens).shape[-1])


def _uses_quick_gelu(model: Any) -> bool:
    return any(type(module).__name__ == "QuickGELU" for module in model.modules())


def _head(model: Any) -> Head:
    scale = float(model.logit_scale.detach().exp().item())
    if getattr(model, "logit_bias", None) is not None:
        return Head(ScoreHead.SIGMOID, scale, float(model.logit_bias.detach().item()))
    return Head(ScoreHead.SOFTMAX, scale)


def _weights_identity(name: ModelName) -> str:
    match name.form:
        case NameForm.TAG:
            return str(tag_identity(name))
        case NameForm.HUB:
            return f"hub:{name.rest}{_hub_commit(name.rest)}"
        case NameForm.CHECKPOINT:
            return _digest_of([Path(name.rest)], open_clip.get_model_config(name.arch))
        case NameForm.LOCAL:
            folder = Path(name.rest)
            weights = Path(str(open_clip.factory._find_checkpoint_in_dir(folder)))
            tokenizer = sorted(p for p in folder.iterdir() if p.is_file() and p.name in _TOKENIZER_FILES)
            return _digest_of([weights, *tokenizer], open_clip.get_model_config(name.open_clip_name))


def _hub_commit(repository: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "open_clip_config.json")
    return f"@{Path(cached).parent.name}" if isinstance(cached, str) else ""


def _digest_of(files: list[Path], config: Any) -> str:
    """Weights alone do not make a space: the same ones under other heads or another tokenizer give other vectors."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
