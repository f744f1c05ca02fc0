"""Vision-language models as retrieval: prototype and gallery indexes, zero-shot classification, search, Prec@1.

Names are imported when first used: ``import zsretrieve`` alone loads neither torch nor faiss.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsretrieve.api import (
        add,
        build_gallery,
        build_image_prototypes,
        build_prototypes,
        cached_models,
        calibrate,
        classify,
        clear_cache,
        compact,
        compare,
        compare_templates,
        evaluate,
        explain,
        export_model,
        few_shot_curve,
        find_duplicates,
        load_encoder,
        make_prototypes,
        open_gallery,
        open_prototypes,
        open_run,
        open_source,
        plan_reproduction,
        published_models,
        rank_templates,
        read_prompts,
        rebuild,
        remove,
        repair,
        reproduce,
        save_run,
        search,
        select_templates,
        similar_classes,
        sync,
        template_sensitivity,
        train_probe,
        verify,
    )
    from zsretrieve.errors import ZsRetrieveError

__all__ = [
    "ZsRetrieveError",
    "add",
    "build_gallery",
    "build_image_prototypes",
    "build_prototypes",
    "cached_models",
    "calibrate",
    "classify",
    "clear_cache",
    "compact",
    "compare",
    "compare_templates",
    "evaluate",
    "explain",
    "export_model",
    "few_shot_curve",
    "find_duplicates",
    "load_encoder",
    "make_prototypes",
    "open_gallery",
    "open_prototypes",
    "open_run",
    "open_source",
    "plan_reproduction",
    "published_models",
    "rank_templates",
    "read_prompts",
    "rebuild",
    "remove",
    "repair",
    "reproduce",
    "save_run",
    "search",
    "select_templates",
    "similar_classes",
    "sync",
    "template_sensitivity",
    "train_probe",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'zsretrieve' has no attribute '{name}'")
    home = "zsretrieve.errors" if name == "ZsRetrieveError" else "zsretrieve.api"
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
