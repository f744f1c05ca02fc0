"""The folder of a trained model, in open_clip's layout, that every command opens as ``local-dir:FOLDER``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from zsretrieve.domain.model_training import Loss, TrainedModel
from zsretrieve.encoders.catalog.files import Configuration
from zsretrieve.encoders.catalog.fingerprint import RECORD, TOKENIZER_FILES, weights_identity
from zsretrieve.encoders.catalog.model_name import CONFIG, LOCAL, ModelName, NameForm, parse_model_name
from zsretrieve.system.atomic import replacing
from zsretrieve.training.card import CARD, card
from zsretrieve.training.place import KIND

_WEIGHTS = "open_clip_model.safetensors"
_FORMAT = "zsretrieve-model"
_LICENCES = "LICEN[CS]E*"


def write_model(
    name: ModelName,
    configuration: Configuration,
    model: Any,
    tokenizer: Any,
    images_of: str | None,
    trained: TrainedModel,
) -> None:
    """Write a trained model to the folder ``trained.out``, in place of its unfinished training or an earlier model.

    ``name`` is that of the model it was made from, and ``images_of`` identifies the weights that have its image tower,
    None if it has one of its own.
    Raises IndexFolderError if the system refuses to write.
    """
    config = {
        "model_cfg": _model_config(configuration, trained.loss),
        "preprocess_cfg": configuration.scaling,
    }
    weights = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    with replacing(Path(trained.out), KIND, force=True) as folder:
        folder.mkdir()
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(weights, folder / _WEIGHTS, {"format": "pt"})
        if name.form is NameForm.LOCAL:
            given = [path for path in Path(name.rest).iterdir() if path.is_file()]
            for path in given:
                if path.name in TOKENIZER_FILES or path.match(_LICENCES):
                    shutil.copyfile(path, folder / path.name)
        elif hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(folder)
        own = weights_identity(parse_model_name(f"{LOCAL}{folder}"))
        record = {"format": _FORMAT, "format_version": 1, "weights": own}
        record |= {} if images_of is None else {"images_of": images_of}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card(trained, keeps_images=images_of is not None), encoding="utf-8")


def _model_config(configuration: Configuration, loss: Loss) -> dict[str, Any]:
    """The ``model_cfg``; it says whether there is a bias, whose value is in the weights."""
    model = {key: value for key, value in configuration.model.items() if key != "init_logit_bias"}
    if loss is Loss.SIGLIP:
        model["init_logit_bias"] = configuration.model.get("init_logit_bias") or -10
    return model
