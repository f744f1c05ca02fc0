"""Class names and templates: reading them from sets, files and the command line, and expanding them.

A set is a TOML file with ``names`` (and perhaps ``keys``, the synset ids) or ``templates`` or both. Lists that a
library ships are named (``names_from = "open_clip:IMAGENET_CLASSNAMES"``) and read from there by a provider.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsretrieve.errors import PromptError
from zsretrieve.records import PromptSet

Provider = Callable[[str], list[str]]
DEFAULT_TEMPLATES = "standard"

_SYNSET_LINE = re.compile(r"^(n\d{8})\s+(.+)$")
_IN_WHEEL = Path(__file__).parent / "_prompts"
_IN_CHECKOUT = Path(__file__).parent.parent / "prompts"


@dataclass(frozen=True)
class ClassList:
    """Classes as read. ``prompts`` is empty unless they were given class by class (CuPL's form)."""

    names: tuple[str, ...]
    keys: tuple[str | None, ...]
    source: str
    prompts: tuple[tuple[str, ...], ...] = ()
    default_templates: str | None = None


@dataclass(frozen=True)
class TemplateList:
    """Templates as read, each with ``{}`` for the class name."""

    templates: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class _Pairs:
    """A JSON object as written: two classes may share a name, and a dict would lose one of them."""

    pairs: list[tuple[str, Any]]


@dataclass(frozen=True)
class SetInfo:
    """What a bundled set holds, for listing."""

    name: str
    holds: str
    source: str
    path: Path


def prompts_folder() -> Path:
    """Where the bundled sets lie: inside the wheel, or at the top of a checkout."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT


def bundled_sets() -> list[SetInfo]:
    """All bundled sets, sorted by name."""
    sets = []
    for path in sorted(prompts_folder().glob("*.toml")):
        content = _read_toml(path)
        holds = [word for word, key in (("classes", "names"), ("templates", "templates")) if _holds(content, key)]
        sets.append(SetInfo(path.stem, " + ".join(holds), str(content.get("source", "")), path))
    return sets


def read_classes(spec: str | Path | Sequence[str], provider: Provider) -> ClassList:
    """Read class names.

    Parameters
    ----------
    spec : str, Path or sequence of str
        A bundled set's name, a ``.toml``, ``.json`` or text file, a comma list (``"cat,dog"``), or the names.
    provider : callable
        Resolves ``names_from`` references of a set.

    Raises
    ------
    PromptError
        If there is no such set or file, it holds no classes, or a name is empty.
    """
    if not isinstance(spec, str | Path):
        return _class_list(list(spec), None, "given names")
    path = _bundled(str(spec)) or Path(spec)
    if _is_file(path):
        match path.suffix.lower():
            case ".toml":
                return _classes_from_toml(path, provider)
            case ".json":
                return _classes_from_json(path)
            case _:
                return _classes_from_lines(path)
    if "," in str(spec):
        names = [name.strip() for name in str(spec).removesuffix(",").split(",")]
        return _class_list(names, None, "given names")
    raise PromptError(
        f"there is no class set or file '{spec}'",
        hint=_nearest(str(spec), "names")
        + 'Your own classes: a file or a comma list, "cat,dog" (for one class "cat,").',
    )


def read_templates(spec: str | Path | Sequence[str], provider: Provider) -> TemplateList:
    """Read templates.

    Parameters
    ----------
    spec : str, Path or sequence of str
        A bundled set's name, a ``.toml``, ``.json`` or text file, one template with ``{}``, or the templates.
    provider : callable
        Resolves ``templates_from`` references of a set.

    Raises
    ------
    PromptError
        If there is no such set or file, it holds no templates, or a template has no placeholder.
    """
    if not isinstance(spec, str | Path):
        return _template_list(list(spec), "given templates")
    path = _bundled(str(spec)) or Path(spec)
    if _is_file(path):
        match path.suffix.lower():
            case ".toml":
                content = _read_toml(path)
                if not _holds(content, "templates"):
                    raise PromptError(f"'{path}' holds no templates", hint=_nearest("", "templates"))
                return _template_list(_strings(content, "templates", path, provider), path.stem)
            case ".json":
                return _template_list(_json_strings(_read_json(path), path), str(path))
            case _:
                return _template_list(_lines(path), str(path))
    if "{" in str(spec) or " " in str(spec).strip():
        return _template_list([str(spec)], "given template")
    raise PromptError(
        f"there is no template set or file '{spec}'",
        hint=_nearest(str(spec), "templates") + 'A template of your own looks like "a photo of a {}.".',
    )


def template_text(templates: Sequence[str], source: str, suffix: str) -> str:
    """The content of a file of templates that ``read_templates`` reads back, by the suffix of its name.

    Parameters
    ----------
    templates : sequence of str
    source : str
        Where they come from, in one line; only TOML has room for it.
    suffix : str
        ``.toml``, ``.json``, or anything else for one template a line.

    Raises
    ------
    PromptError
        If a template does not fit into a line.
    """
    match suffix.lower():
        case ".toml":
            rows = "".join(f"    {json.dumps(template)},\n" for template in templates)
            return f"source = {json.dumps(source)}\ntemplates = [\n{rows}]\n"
        case ".json":
            return json.dumps(list(templates), indent=1, ensure_ascii=False) + "\n"
        case _:
            for template in templates:
                if template.splitlines() != [template] or template.strip() != template:
                    raise PromptError(
                        f"the template {template!r} begins or ends with a space or has several lines",
                        hint="Write it to a .toml or .json file.",
                    )
            return "".join(f"{template}\n" for template in templates)


def expand(classes: ClassList, templates: TemplateList | None) -> PromptSet:
    """Put every class name into every template; prompts given class by class are taken as they are.

    Raises
    ------
    PromptError
        If templates are missing, or given beside prompts that leave no room for them.
    """
    if classes.prompts:
        if templates is not None:
            raise PromptError(
                f"'{classes.source}' gives its prompts class by class, so templates do not apply",
                hint="Leave out the templates.",
            )
        return PromptSet(classes.names, classes.keys, classes.prompts, (), classes.source, "class by class")
    if templates is None:
        raise PromptError(
            "no templates were given", hint=f"Use the set '{DEFAULT_TEMPLATES}', or 'raw' for bare names."
        )
    prompts = tuple(tuple(t.replace("{}", name) for t in templates.templates) for name in classes.names)
    return PromptSet(classes.names, classes.keys, prompts, templates.templates, classes.source, templates.source)


def duplicate_names(prompts: PromptSet) -> tuple[str, ...]:
    """Class names that occur more than once, in order; their ties go to the lowest class id."""
    return tuple(name for name, count in Counter(prompts.class_names).items() if count > 1)


def prompt_digest(prompts: PromptSet) -> str:
    """sha256 over class names, keys and prompts: two indexes with equal digests asked the same questions."""
    content = json.dumps([prompts.class_names, prompts.class_keys, prompts.prompts], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _class_list(
    names: list[str],
    keys: list[str | None] | None,
    source: str,
    prompts: Sequence[Sequence[str]] = (),
    default_templates: str | None = None,
) -> ClassList:
    if not names:
        raise PromptError(f"'{source}' holds no class names", hint="Give at least one name.")
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise PromptError(f"class name {position} of '{source}' is empty", hint="Remove it or give it a name.")
    if keys is not None and len(keys) != len(names):
        raise PromptError(
            f"'{source}' holds {len(names)} names but {len(keys)} keys", hint="Give one key for each name."
        )
    return ClassList(
        tuple(names),
        tuple(keys) if keys is not None else (None,) * len(names),
        source,
        tuple(tuple(group) for group in prompts),
        default_templates,
    )


def _template_list(templates: list[str], source: str) -> TemplateList:
    if not templates:
        raise PromptError(f"'{source}' holds no templates", hint='Give at least one, e.g. "a photo of a {}.".')
    plain = [template.replace("{c}", "{}") for template in templates]
    for position, template in enumerate(plain, start=1):
        if "{}" not in template:
            raise PromptError(
                f"template {position} of '{source}' has no placeholder: '{templates[position - 1]}'",
                hint="Write {} where the class name goes.",
            )
    return TemplateList(tuple(plain), source)


def _classes_from_toml(path: Path, provider: Provider) -> ClassList:
    content = _read_toml(path)
    if not _holds(content, "names"):
        raise PromptError(f"'{path.stem}' holds templates, not classes", hint=_nearest("", "names"))
    names = _strings(content, "names", path, provider)
    keys: list[str | None] | None = None
    if _holds(content, "keys"):
        keys = [*_strings(content, "keys", path, provider)]
    default = content.get("default_templates")
    return _class_list(names, keys, path.stem, default_templates=str(default) if default else None)


def _classes_from_json(path: Path) -> ClassList:
    content = _read_json(path)
    if isinstance(content, _Pairs):
        names = [name for name, _ in content.pairs]
        prompts = [_json_strings(value, path) for _, value in content.pairs]
        for name, group in zip(names, prompts, strict=True):
            if not group or not all(text.strip() for text in group):
                raise PromptError(f"class '{name}' of '{path}' has no prompt or an empty one", hint="Give it a prompt.")
        return _class_list(names, None, str(path), prompts)
    return _class_list(_json_strings(content, path), None, str(path))


def _classes_from_lines(path: Path) -> ClassList:
    lines = _lines(path)
    found = [_SYNSET_LINE.match(line) for line in lines]
    if lines and all(found):
        return _class_list([m[2] for m in found if m], [m[1] for m in found if m], str(path))
    return _class_list(lines, None, str(path))


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not line:
            raise PromptError(
                f"line {number} of '{path}' is empty", hint="Write one entry a line, without empty lines."
            )
    return lines


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"'{path}' cannot be read: {error}", hint="Give a readable UTF-8 file.") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise PromptError(f"'{path}' is not valid TOML: {error}", hint="See docs/formats.md for the form.") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path), object_pairs_hook=_Pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise PromptError(f"'{path}' is not valid JSON: {error}", hint="See docs/formats.md for the form.") from error


def _json_strings(value: Any, path: Path) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise PromptError(
            f"'{path}' must hold a list of strings, or an object of class names with lists of prompts",
            hint="See docs/formats.md for the form.",
        )
    return value


def _holds(content: dict[str, Any], key: str) -> bool:
    return key in content or f"{key}_from" in content


def _strings(content: dict[str, Any], key: str, path: Path, provider: Provider) -> list[str]:
    if f"{key}_from" in content:
        return provider(str(content[f"{key}_from"]))
    value = content[key]
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise PromptError(f"'{key}' of '{path}' must be a list of strings", hint="See docs/formats.md for the form.")
    return value


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a list of labels or a sentence may be too long to be a path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _bundled(name: str) -> Path | None:
    path = prompts_folder() / f"{name}.toml"
    return path if re.fullmatch(r"[\w-]+", name) and _is_file(path) else None


def _nearest(name: str, key: str) -> str:
    names = [p.stem for p in sorted(prompts_folder().glob("*.toml")) if _holds(_read_toml(p), key)]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}? "
    return f"Bundled sets: {', '.join(names)}. "
