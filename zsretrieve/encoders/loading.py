"""Models by name, loaded when they are first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zsretrieve.domain.arguments import check
from zsretrieve.domain.errors import SpaceMismatchError
from zsretrieve.domain.ports import Encoder, ImageMemory, OnStage, PromptMemory, TextEncoder, one_step
from zsretrieve.domain.records import Encoding
from zsretrieve.domain.settings import INTEL, Compute, Precision, Reading
from zsretrieve.domain.spaces import check_same_space
from zsretrieve.encoders import packs
from zsretrieve.encoders.catalog.model_name import DEFAULT_MODEL, NameForm, full_name, parse_model_name, same_weights
from zsretrieve.encoders.catalog.tables import architecture
from zsretrieve.encoders.choosing import check_installed, planned_encoding
from zsretrieve.encoders.running import load_encoder
from zsretrieve.system import hardware

if TYPE_CHECKING:
    from zsretrieve.domain.records import Space
    from zsretrieve.domain.vectors import Vectors

_log = logging.getLogger("zsretrieve")


class Model:
    """A model and how it runs; cheap to make, and loaded when its encoder is first needed.

    Parameters
    ----------
    name : str, optional
        ``small``, ``medium``, ``best``, ``demo``, ``ARCH/TAG``, ``ARCH,TAG``, ``hf-hub:org/repo``, ``pack:FILE``,
        ``local-dir:PATH``, ``ARCH/CHECKPOINT``, a name of OpenAI's such as ``ViT-B/32``, or a Hugging Face repository
        of OpenAI, Google or LAION, for open_clip's model of the same weights. Without a name it is the model that an
        index names, and ``DEFAULT_MODEL`` where there is no index.
    compute : Compute
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all) while the model is loaded.

    Raises
    ------
    ModelNameError
        If the name cannot be read.
    DeviceError
        If it is a pack, and cannot run as ``compute`` says.
    """

    def __init__(
        self, name: str | None = None, compute: Compute | None = None, *, on_stage: OnStage | None = None
    ) -> None:
        check("name", name, str | None, "Give the name of a model, or use zsretrieve.Model.of(encoder).")
        check("compute", compute, Compute | None, "Write zsretrieve.Compute(device='cpu').")
        if name is not None:
            name = full_name(name)
            parse_model_name(name)
            given, name = name, same_weights(name.strip())
            if name != given.strip():
                _log.info(f"{given.strip()} is {name} in open_clip: the same weights")
        self.name = name
        self.compute = compute or Compute()
        self._on_stage = on_stage
        self._encoder: Encoder | None = None
        # An encoder that the caller gave is used as it is: its precision stands, and its vectors are not cached.
        self._is_given = False
        # The same model for several indexes, or in several precisions, is loaded once for each.
        self._lock = threading.RLock()
        self._variants: dict[tuple[str | None, Compute], Model] = {(self.name, self.compute): self}
        packs.settings(self.name, self.compute)

    @classmethod
    def of(cls, encoder: Encoder) -> Model:
        """A model that is loaded already. Vectors of its texts are not cached."""
        model = cls()
        model.name = encoder.space.model
        model._encoder, model._is_given = encoder, True
        return model

    @classmethod
    def to_train(cls, name: str | None, compute: Compute | None = None) -> Model:
        """A model, or an architecture of open_clip such as ``ViT-B-32``, of which ``train`` makes a model.

        Raises as ``Model`` does.
        """
        check("name", name, str | None, "Give the name of a model.")
        if name is None or not architecture(name):
            return cls(name, compute)
        model = cls(compute=compute)
        model.name = name
        return model

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.compute!r})"

    def named(self, name: str) -> Model:
        """The model itself, or the one called ``name`` if none was chosen."""
        return self if self.name is not None else self._variant(name, self.compute)

    def computed_with(self, precision: Precision) -> Model:
        """The model itself, in ``precision`` if the caller did not choose one and the model has it."""
        if self.is_given or self.compute.precision is not Precision.AUTO:
            return self
        if packs.only_precision(self.name) not in (None, precision):
            return self
        if precision not in INTEL.get(self.compute.device, (precision,)):
            return self
        return self._variant(self.name, replace(self.compute, precision=precision))

    def _variant(self, name: str | None, compute: Compute) -> Model:
        with self._lock:
            if (name, compute) not in self._variants:
                variant = Model(compute=compute, on_stage=self._on_stage)
                variant.name = name  # not parsed: an index may name an encoder that cannot be loaded and need not be
                variant._lock, variant._variants = self._lock, self._variants
                self._variants[name, compute] = variant
            return self._variants[name, compute]

    @property
    def _settings(self) -> Compute:
        """How it runs: as the caller wants, and if it is a pack, in OpenVINO. Raises DeviceError if that cannot be."""
        return packs.settings(self.name, self.compute)

    @property
    def is_given(self) -> bool:
        """Whether the caller gave the encoder itself."""
        return self._is_given

    @property
    def identity(self) -> str | None:
        """What identifies the weights, known without loading; None for a hub model that was never fetched.

        Raises
        ------
        WeightsUnavailableError, ModelNameError
            If the files of a model on disk cannot be read.
        """
        if self._encoder is not None:
            return self._encoder.space.weights
        from zsretrieve.encoders.catalog.fingerprint import weights_identity

        parsed = parse_model_name(self.name or DEFAULT_MODEL)
        identity = weights_identity(parsed)
        return None if parsed.form is NameForm.HUB and "@" not in identity else identity

    def check(self, space: Space) -> bool:
        """Compare the weights with those of an index, before anything is loaded or fetched.

        Returns
        -------
        bool
            True if they are the same, or the index names this very model; False if only loading can show it.

        Raises
        ------
        SpaceMismatchError
            If they differ.
        WeightsUnavailableError, ModelNameError
            See ``identity``.
        """
        if self._encoder is not None:
            check_same_space(space, "the index", self._encoder.space, "the model")
            return True
        if self.name is None or self.name == space.model:
            return True
        identity = self.identity
        if identity is None:
            return False
        if identity != space.weights:
            raise SpaceMismatchError(
                f"the index was built with '{space.model}', not with '{self.name}'",
                hint=f"Leave out `model`, or build the index again with `model` {self.name}",
            )
        return True

    def check_installed(self) -> None:
        """Check before any work that the packages which loading needs are installed; none of them is imported.

        Raises
        ------
        OptionalDependencyError
            If it runs in torch or must be converted, and the extra ``models`` is not installed.
        ModelNameError, WeightsUnavailableError
            If, besides, there is no such model.
        """
        if self._encoder is None:
            check_installed(parse_model_name(self.name or DEFAULT_MODEL), self.compute)

    def load(self, space: Space | None = None) -> Encoder:
        """The encoder, loaded on the first call.

        Parameters
        ----------
        space : Space, optional
            The embedding space it must have.

        Raises
        ------
        ModelNameError, WeightsUnavailableError
            If there is no such model, or its weights are not available.
        UntrustedCodeError
            If it would run code that comes with it, and its ``Compute`` does not allow that.
        DeviceError
            If the device or precision is not available here.
        OptionalDependencyError
            If a package of the engine is not installed or cannot be imported.
        SpaceMismatchError
            If it has another embedding space than ``space``.
        """
        with self._lock:
            if self._encoder is None:
                with one_step(self._on_stage, f"loading {self.name or DEFAULT_MODEL}"):
                    self._encoder = self._load()
        if space is not None:
            check_same_space(space, "the index", self._encoder.space, "the model")
        return self._encoder

    def note_text_only(self) -> None:
        """Say that int8 or one of Intel's devices, if wanted, has no effect where no image is encoded."""
        if self.compute.precision is Precision.INT8:
            _log.info(f"int8 is for images: the text is encoded in {hardware.cpu_best()}")
        elif self.compute.device in INTEL:
            _log.info(f"{self.compute.device} is for images: the text is encoded on the CPU")

    def texts(self, space: Space, *, cached: bool = True, together: bool = False) -> TextEncoder:
        """What encodes queries in an embedding space; loads the model only for texts that are not in the cache.

        A few texts are encoded one by one, so that each always has the same bits, unless they are to be encoded
        ``together``, which is faster.
        """
        # The cache answers for the index's own weights, not for a model that may turn out to have others.
        if self.is_given or not cached or not self.check(space):
            return _Texts(self, space)
        return self._query_cache(space, together=together)

    def prompt_memory(self, space: Space) -> PromptMemory | None:
        """The cached vectors of prompts in an embedding space, or None where nothing is cached."""
        if self.is_given or not self.check(space):
            return None
        try:
            from zsretrieve.encoders.cache.text_embeddings import CachedPrompts
        except ImportError:  # a Python that was built without SQLite
            return None
        return CachedPrompts(space, packs.cache_key(self.name, self.compute), _as_planned(self._settings, texts=True))

    def image_memory(self, space: Space, reading: Reading) -> ImageMemory | None:
        """The cached vectors of images read in one way, in an embedding space, or None where nothing is cached."""
        if self.is_given or not self.check(space):
            return None
        try:
            from zsretrieve.encoders.cache.image_embeddings import CachedImages
        except ImportError:
            return None
        settings = f"{packs.cache_key(self.name, self.compute)}, {self._calibration()}"
        return CachedImages(space, settings, reading, _as_planned(self._settings))

    def _calibration(self) -> str | None:
        """What identifies the int8 image tower, None in other precisions."""
        if self.compute.precision is not Precision.INT8:
            return None
        from zsretrieve.encoders.openvino import int8_cache, model_cache

        converted = model_cache.find(parse_model_name(self.name or DEFAULT_MODEL))
        tower = None if converted is None else int8_cache.find(converted)
        return None if tower is None else tower.digest

    def _load(self) -> Encoder:
        from zsretrieve.encoders import device_trial

        device_trial.check(self._settings.device)
        return load_encoder(self.name or DEFAULT_MODEL, self._settings, self._on_stage)

    def _query_cache(self, space: Space, *, together: bool) -> TextEncoder:
        try:
            from zsretrieve.encoders.cache.text_embeddings import CachedQueries
        except ImportError:
            return _Texts(self, space)
        key = packs.cache_key(self.name, self.compute)
        return CachedQueries(space, key, self.load, _as_planned(self._settings, texts=True), together=together)


ModelLike = Model | Encoder | str


def as_model(model: ModelLike | None) -> Model:
    """A model by its name or its encoder; without a name for None."""
    if model is None or isinstance(model, str):
        return Model(model)
    return model if isinstance(model, Model) else Model.of(model)


class _Texts:
    """Encodes texts with the model itself, loaded for the first of them."""

    def __init__(self, model: Model, space: Space) -> None:
        self._model = model
        self._space = space

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._model.load(self._space).encode_texts(texts)


def _as_planned(compute: Compute, *, texts: bool = False) -> Callable[[Encoding], bool]:
    """Whether vectors of images or texts were computed as expected of these settings on this machine."""

    def check(encoding: Encoding) -> bool:
        # Vectors of torch in place of OpenVINO must not be taken for OpenVINO's once that works again.
        planned = planned_encoding(compute)
        # Of several GPUs the first one encodes the texts.
        first, planned_first = (device.split(",")[0] for device in (encoding.device, planned.device))
        if texts and planned_first in INTEL:
            planned_first = "cpu"
        return (encoding.engine, first) == (planned.engine, planned_first)

    return check
