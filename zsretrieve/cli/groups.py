"""Groups of options that make one value: declared once, used by many commands.

A command declares the value and receives it whole::

    @grouped
    def gallery(source: Source, compute: Annotated[Compute, COMPUTE]) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints


class OptionGroup:
    """The options of one value.

    Parameters
    ----------
    make : callable
        Makes the value; called with the options by name.
    options : mapping of str to (annotation, default)
    """

    def __init__(self, make: Callable[..., Any], options: Mapping[str, tuple[Any, Any]]) -> None:
        self.make = make
        self.options = options

    def without(self, *names: str) -> OptionGroup:
        """The group without the options that a command has no use for."""
        return OptionGroup(self.make, {name: option for name, option in self.options.items() if name not in names})

    def with_default(self, name: str, default: Any) -> OptionGroup:
        """A group in which one option has another default."""
        return OptionGroup(self.make, {**self.options, name: (self.options[name][0], default)})


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Show Typer the options of a command's groups, and pass the command the values they make."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, OptionGroup] = {}
    for parameter in inspect.signature(command).parameters.values():
        group = _group_of(hints[parameter.name])
        if group is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        groups[parameter.name] = group
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in group.options.items()
        ]
    # A keyword may stand before or after one with a default.
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group.make(**{option: values.pop(option) for option in group.options})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _group_of(hint: Any) -> OptionGroup | None:
    if get_origin(hint) is None:
        return None
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, OptionGroup)), None)
