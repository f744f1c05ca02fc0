"""Values are converted as Typer converts them, whichever of the two does it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer._coercion import build_runtime_param
from typer.main import get_command

from zsretrieve.cli.app import app
from zsretrieve.cli.fast_params import Plain, quicken

VALUES: list[Any] = [
    None, "", "10", "+3", "-4", "0", "007", " 5", "1e3", "1_000", "٣", "0.98", "1.5", "nan", "x", "json", "JSON",
    "fp32", "auto", "yes", "--", "a\nb", ".", "no/such/file", "pyproject.toml", "~", 3, 0.5, True, False,
    "-0.25", "+0.5", "00.50", ".5", "5.", "1.5e-1", "0.1 ", "1" * 19, "0." + "3" * 18,
]  # fmt: skip


def parameters(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for param in command.params:
        yield f"{path} {param.name}", param
    for name, child in getattr(command, "commands", {}).items():
        yield from parameters(child.load() if hasattr(child, "load") else child, f"{path} {name}")


def outcome(convert: Any, value: Any, param: Any) -> Any:
    try:
        converted = convert.coerce(value, param=param, ctx=None)
    except Exception as error:  # noqa: BLE001
        return type(error).__name__, str(error)
    return type(converted), repr(converted)


@pytest.mark.parametrize("readable", [True, False])
def test_every_parameter_takes_and_refuses_what_typer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: readable)
    Path("pyproject.toml").touch()
    seen = set()
    for name, param in parameters(get_command(app)):
        info = param.type_descriptor.parameter_info
        conditions = (param.type_descriptor.annotation, param.multiple, param.nargs, info.min, info.max, info.exists)
        if conditions in seen:
            continue
        seen.add(conditions)
        typers = build_runtime_param(param.type_descriptor)
        several = param.multiple or param.nargs == -1
        for value in VALUES:
            given = (value,) if several and value is not None else value
            ours = outcome(Plain(param), given, param)
            assert ours == outcome(typers, given, param), (name, value)
    assert len(seen) > 10


@pytest.mark.parametrize("lacking", ["annotation", "parameter_info", "type_descriptor", "min", "parser"])
def test_a_typer_that_lacks_an_attribute_converts_by_itself(lacking: str) -> None:
    param = next(p for name, p in parameters(get_command(app)) if name.endswith("search k"))
    expected = build_runtime_param(param.type_descriptor)

    class Lacking:
        """A parameter as another Typer might have it."""

        def __init__(self, of: Any) -> None:
            self._of = of

        def __getattr__(self, name: str) -> Any:
            if name == lacking:
                raise AttributeError(name)
            value = getattr(self._of, name)
            return Lacking(value) if name in ("type_descriptor", "parameter_info") else value

        def get_runtime_param(self) -> Any:
            assert self._runtime_param is None
            return expected

    other = Lacking(param)
    for value in ("3", "x", "-1", None):
        assert outcome(Plain(other), value, param) == outcome(expected, value, param)


def test_a_typer_without_a_place_for_conversions_is_left_alone() -> None:
    class Bare:
        _runtime_param = None

    bare = Bare()
    quicken([bare, object()])
    assert bare._runtime_param is None


def test_other_requests_go_to_typers_own_conversion() -> None:
    param = next(p for name, p in parameters(get_command(app)) if name.endswith("search k"))
    param._runtime_param = None
    quicken([param])
    assert isinstance(param._runtime_param, Plain)
    assert param._runtime_param.coerce("3", param, None) == 3
    assert param._runtime_param.__class__ is Plain
    assert callable(param._runtime_param._coerce_value)
    assert not isinstance(param._runtime_param, Plain)
