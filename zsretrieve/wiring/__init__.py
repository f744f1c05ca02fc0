"""Which encoder, which index, which device: the only place that names the adapters.

Every adapter is imported when it is first needed, so that a command pays only for what it uses.
"""

from zsretrieve.encoders.metadata import provide
from zsretrieve.encoders.naming import DEFAULT_MODEL
from zsretrieve.wiring.encoding import (
    automatic_encoding,
    check_compiling,
    check_runs_int8,
    load_encoder,
    planned_encoding,
    prompt_memory,
    remembering,
)
from zsretrieve.wiring.indexes import automatic_index_device, index_backend
from zsretrieve.wiring.models import (
    cached_models,
    check_int8,
    clear_cached_models,
    describe_model,
    export_model,
    is_quantised,
    known_identity,
    known_models,
    published_models,
    published_of,
    quantise,
    remembered_prompts,
    remembered_queries,
)

__all__ = [
    "DEFAULT_MODEL",
    "automatic_encoding",
    "automatic_index_device",
    "cached_models",
    "check_compiling",
    "check_int8",
    "check_runs_int8",
    "clear_cached_models",
    "describe_model",
    "export_model",
    "index_backend",
    "is_quantised",
    "known_identity",
    "known_models",
    "load_encoder",
    "planned_encoding",
    "prompt_memory",
    "provide",
    "published_models",
    "published_of",
    "quantise",
    "remembered_prompts",
    "remembered_queries",
    "remembering",
]
