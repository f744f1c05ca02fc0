"""OpenVINO, imported so that it reports to nobody and loads nothing that only conversions need.

Its ``__init__`` would send an event to its maker with every import, unless the user had refused that on this machine;
where the package that sends is missing, OpenVINO does without.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, cast

_SENDER, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"

_modules = cast("dict[str, ModuleType | None]", sys.modules)
_modules.setdefault(_SENDER, None)  # None is how Python marks a module that must not be imported
_first = "openvino" not in _modules
if _first:
    _modules[_CONVERTER] = None
import openvino  # noqa: E402


def convert_model(*arguments: Any, **options: Any) -> Any:
    """OpenVINO's own converter, imported when it is called. Raises whatever it raises."""
    from openvino.tools.ovc import convert_model as convert

    return convert(*arguments, **options)


if _first:
    del _modules[_CONVERTER]
    # A program that uses both packages finds what it expects.
    openvino.convert_model = convert_model

__all__ = ["convert_model", "openvino"]
