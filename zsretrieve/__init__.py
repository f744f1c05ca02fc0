"""Vision-language models as retrieval: prototype and gallery indexes, zero-shot classification, search, Prec@1.

``__init__.pyi`` lists the public names. Each is imported on first use: ``import zsretrieve`` alone loads neither torch
nor FAISS. Functions check their arguments here; among themselves the modules call them without.
"""

import types as _types

import lazy_loader as _lazy_loader

_attribute, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    value = _attribute(name)
    if not isinstance(value, _types.FunctionType):
        return value
    from zsretrieve.domain.arguments import entrance

    checked = entrance(value)
    if name in globals():  # lazy_loader keeps functions that are named like their module
        globals()[name] = checked
    return checked
