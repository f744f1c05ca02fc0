"""The verbs for Python: adapters from ``wiring``, use cases from below, defaults in one place.

The command line calls these same functions.
"""

from zsretrieve.api.asking import check_k, check_labels, classify, evaluate, search, search_all
from zsretrieve.api.building import (
    build_gallery,
    build_gallery_with_report,
    build_prototypes,
    check_output,
    make_prototypes,
    read_prompts,
)
from zsretrieve.api.exchange import export_index, import_gallery, open_vectors
from zsretrieve.api.filtering import find_duplicates
from zsretrieve.api.keeping import add, commits, compact, interrupted_build, rebuild, remove, repair, sync, verify_deep
from zsretrieve.api.models import (
    cached_models,
    calibrate,
    check_model,
    clear_cache,
    export_model,
    is_calibrated,
    load_encoder,
)
from zsretrieve.api.opening import is_index, open_gallery, open_prototypes, open_source, verify

__all__ = [
    "add",
    "build_gallery",
    "build_gallery_with_report",
    "build_prototypes",
    "cached_models",
    "calibrate",
    "check_k",
    "check_labels",
    "check_model",
    "check_output",
    "classify",
    "clear_cache",
    "commits",
    "compact",
    "evaluate",
    "export_index",
    "export_model",
    "find_duplicates",
    "import_gallery",
    "interrupted_build",
    "is_calibrated",
    "is_index",
    "load_encoder",
    "make_prototypes",
    "open_gallery",
    "open_prototypes",
    "open_source",
    "open_vectors",
    "read_prompts",
    "rebuild",
    "remove",
    "repair",
    "search",
    "search_all",
    "sync",
    "verify",
    "verify_deep",
]
