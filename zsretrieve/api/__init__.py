"""The verbs for Python: adapters from ``wiring``, use cases from below, defaults in one place.

The command line calls these same functions. Each is imported when it is first asked for: a search needs nothing of
what builds, exports or reads archives.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsretrieve.api.asking import check_asked, check_k, check_labels, classify, evaluate, evaluate_with_run
    from zsretrieve.api.building import (
        build_gallery,
        build_gallery_with_report,
        build_prototypes,
        check_output,
        make_prototypes,
        read_prompts,
    )
    from zsretrieve.api.calibrating import calibrate, check_runs_int8, is_calibrated
    from zsretrieve.api.comparing import (
        check_run_output,
        check_tables_output,
        compare,
        open_run,
        save_run,
        save_tables,
    )
    from zsretrieve.api.exchange import export_index, import_gallery, open_vectors
    from zsretrieve.api.few_shot import (
        build_image_prototypes,
        check_shots,
        few_shot_classes,
        few_shot_curve,
        train_probe,
    )
    from zsretrieve.api.filtering import find_duplicates
    from zsretrieve.api.finding import open_source
    from zsretrieve.api.keeping import (
        add,
        commits,
        compact,
        interrupted_build,
        rebuild,
        remove,
        repair,
        sync,
        verify_deep,
    )
    from zsretrieve.api.lab_inputs import check_gallery_labels, lab_classes, lab_gallery
    from zsretrieve.api.models import (
        cached_models,
        check_compiling,
        check_model,
        clear_cache,
        export_model,
        load_encoder,
        precision_of_queries,
        prompt_memory,
        published_models,
        remembered_prompts,
        remembered_queries,
        remembering,
    )
    from zsretrieve.api.opening import is_index, open_gallery, open_prototypes, verify
    from zsretrieve.api.plotting import check_plot, plot_curve
    from zsretrieve.api.prompt_lab import (
        compare_templates,
        rank_templates,
        select_templates,
        similar_classes,
        template_sensitivity,
    )
    from zsretrieve.api.reproducing import explain, find_images, plan_reproduction, published_table, reproduce
    from zsretrieve.api.searching import search, search_all

__all__ = [
    "add",
    "build_gallery",
    "build_gallery_with_report",
    "build_image_prototypes",
    "build_prototypes",
    "cached_models",
    "calibrate",
    "check_asked",
    "check_compiling",
    "check_gallery_labels",
    "check_k",
    "check_labels",
    "check_model",
    "check_output",
    "check_plot",
    "check_run_output",
    "check_runs_int8",
    "check_shots",
    "check_tables_output",
    "classify",
    "clear_cache",
    "commits",
    "compact",
    "compare",
    "compare_templates",
    "evaluate",
    "evaluate_with_run",
    "explain",
    "export_index",
    "export_model",
    "few_shot_classes",
    "few_shot_curve",
    "find_duplicates",
    "find_images",
    "import_gallery",
    "interrupted_build",
    "is_calibrated",
    "is_index",
    "lab_classes",
    "lab_gallery",
    "load_encoder",
    "make_prototypes",
    "open_gallery",
    "open_prototypes",
    "open_run",
    "open_source",
    "open_vectors",
    "plan_reproduction",
    "plot_curve",
    "precision_of_queries",
    "prompt_memory",
    "published_models",
    "published_table",
    "rank_templates",
    "read_prompts",
    "rebuild",
    "remembered_prompts",
    "remembered_queries",
    "remembering",
    "remove",
    "repair",
    "reproduce",
    "save_run",
    "save_tables",
    "search",
    "search_all",
    "select_templates",
    "similar_classes",
    "sync",
    "template_sensitivity",
    "train_probe",
    "verify",
    "verify_deep",
]

_HOMES = {
    "asking": (
        "check_asked",
        "check_k",
        "check_labels",
        "classify",
        "evaluate",
        "evaluate_with_run",
    ),
    "building": (
        "build_gallery",
        "build_gallery_with_report",
        "build_prototypes",
        "check_output",
        "make_prototypes",
        "read_prompts",
    ),
    "calibrating": ("calibrate", "check_runs_int8", "is_calibrated"),
    "comparing": (
        "check_run_output",
        "check_tables_output",
        "compare",
        "open_run",
        "save_run",
        "save_tables",
    ),
    "exchange": (
        "export_index",
        "import_gallery",
        "open_vectors",
    ),
    "few_shot": (
        "build_image_prototypes",
        "check_shots",
        "few_shot_classes",
        "few_shot_curve",
        "train_probe",
    ),
    "finding": ("open_source",),
    "filtering": ("find_duplicates",),
    "keeping": (
        "add",
        "commits",
        "compact",
        "interrupted_build",
        "rebuild",
        "remove",
        "repair",
        "sync",
        "verify_deep",
    ),
    "lab_inputs": ("check_gallery_labels", "lab_classes", "lab_gallery"),
    "models": (
        "cached_models",
        "check_compiling",
        "check_model",
        "clear_cache",
        "export_model",
        "load_encoder",
        "precision_of_queries",
        "published_models",
        "prompt_memory",
        "remembered_prompts",
        "remembered_queries",
        "remembering",
    ),
    "opening": (
        "is_index",
        "open_gallery",
        "open_prototypes",
        "verify",
    ),
    "reproducing": ("explain", "find_images", "plan_reproduction", "published_table", "reproduce"),
    "prompt_lab": (
        "compare_templates",
        "rank_templates",
        "select_templates",
        "similar_classes",
        "template_sensitivity",
    ),
    "plotting": ("check_plot", "plot_curve"),
    "searching": ("search", "search_all"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'zsretrieve.api' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"zsretrieve.api.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
