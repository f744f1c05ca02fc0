"""OpenVINO, imported without its telemetry and without what only conversions need.

Its ``__init__`` sends an event on every import unless the user has opted out on this machine; without the telemetry
package, it does not.
"""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any, cast

from zsretrieve.system.interruption import held_back

_SENDER, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"

_modules = cast("dict[str, ModuleType | None]", sys.modules)
_modules.setdefault(_SENDER, None)  # None makes an import fail
_first = "openvino" not in _modules
if _first:
    _modules[_CONVERTER] = None
with held_back():
    import openvino


def convert_model(*arguments: Any, **options: Any) -> Any:
    """OpenVINO's own converter, imported when it is called."""
    from openvino.tools.ovc import convert_model as convert

    return convert(*arguments, **options)


if _first:
    del _modules[_CONVERTER]
    # For programs that use both packages.
    openvino.convert_model = convert_model


@functools.cache
def runs_bf16() -> bool:
    """Whether OpenVINO computes in bf16 here when it is asked to; elsewhere it silently computes in fp32."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


__all__ = ["convert_model", "openvino", "runs_bf16"]
