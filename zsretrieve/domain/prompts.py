"""Class names and templates: reading them from sets, files and the command line, and expanding them.

A set is a TOML file with ``names`` (and perhaps ``keys``, the synset ids) or ``templates`` or both. It may name lists
that a library ships (``names_from = "open_clip:IMAGENET_CLASSNAMES"``), which a provider reads from there.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zsretrieve.domain import class_files
from zsretrieve.domain.errors import PromptError
from zsretrieve.domain.names import SYNSET, composed
from zsretrieve.domain.records import PromptSet
from zsretrieve.domain.text_files import read_text, tidy
from zsretrieve.domain.wording import shorten

Provider = Callable[[str], list[str]]
DEFAULT_TEMPLATES = "standard"
# The set that has a name for every synset ID of ImageNet-1k.
OF_SYNSETS = "imagenet1k"

# The source of a template that was given by itself.
GIVEN_TEMPLATE = "given template"

_FORM = "See docs/formats.md for the form."
_IN_WHEEL = Path(__file__).parent.parent / "_prompts"
_IN_CHECKOUT = Path(__file__).parent.parent.parent / "prompts"


@dataclass(frozen=True)
class ClassList:
    """Classes as read. ``prompts`` is empty unless they were given class by class (CuPL's form).

    ``form`` describes the file they were read from, unless it has one entry per line.
    """

    names: tuple[str, ...]
    keys: tuple[str | None, ...]
    source: str
    prompts: tuple[tuple[str, ...], ...] = ()
    default_templates: str | None = None
    form: str | None = None


@dataclass(frozen=True)
class TemplateList:
    """Templates as read, each with ``{}`` for the class name."""

    templates: tuple[str, ...]
    source: str
    form: str | None = None


@dataclass(frozen=True)
class SetInfo:
    """A bundled set, for listing."""

    name: str
    has_classes: bool
    has_templates: bool
    source: str


def bundled_sets() -> list[SetInfo]:
    """All bundled sets, sorted by name."""
    return [
        SetInfo(path.stem, _holds(content, "names"), _holds(content, "templates"), content["source"])
        for path, content in ((path, _read_toml(path)) for path in _bundled_files())
    ]


def read_classes(spec: str | Path | Sequence[str], provider: Provider) -> ClassList:
    """Read class names.

    Parameters
    ----------
    spec : str, Path or sequence of str
        A bundled set's name, a file (see ``zsretrieve.domain.class_files``), a comma-separated list (``"cat,dog"``), or
        the names.
    provider : callable
        Resolves ``names_from`` references of a set.

    Raises
    ------
    PromptError
        If there is no such set or file, it holds no classes, or a name is empty.
    """
    found = _read_classes(spec, provider)
    if found.prompts or any(found.keys) or not all(SYNSET.fullmatch(name) for name in found.names):
        return found
    known = _read_classes(OF_SYNSETS, provider)
    name_of = dict(zip(known.keys, known.names, strict=True))
    unknown = [key for key in found.names if key not in name_of]
    if unknown:
        raise PromptError(
            f"'{found.source}' holds synset IDs without names, and {shorten(unknown, 3)} are not in {OF_SYNSETS}",
            hint="Write a name after each: n01440764 tench.",
        )
    names = tuple(name_of[key] for key in found.names)
    return replace(found, names=names, keys=found.names, form=f"synset IDs, with the names of {OF_SYNSETS}")


def _read_classes(spec: str | Path | Sequence[str], provider: Provider) -> ClassList:
    if not isinstance(spec, str | Path):
        return _class_list(spec, "given names")
    path = _file(spec)
    if path is None:
        if "," in str(spec):
            return _class_list([tidy(name) for name in str(spec).removesuffix(",").split(",")], "given names")
        own = (
            'Your own classes: a file or a comma-separated list: "cat,dog"; a single class needs a comma, too: "cat,".'
        )
        raise PromptError(f"there is no class set or file '{spec}'", hint=_nearest(str(spec), "names") + own)
    if path.suffix.lower() == ".toml":
        content = _read_toml(path)
        if not _holds(content, "names"):
            raise PromptError(f"'{path.stem}' holds templates, not classes", hint=_nearest("", "names"))
        names = _strings(content, "names", path, provider)
        keys = _strings(content, "keys", path, provider) if _holds(content, "keys") else None
        return _class_list(names, path.stem, keys, default_templates=content.get("default_templates"))
    listed = class_files.read_classes(path, read_text(path, PromptError))
    found = _class_list(listed.names, str(path), listed.keys, listed.prompts or ())
    return replace(found, form=listed.form)


def read_templates(spec: str | Path | Sequence[str], provider: Provider) -> TemplateList:
    """Read templates.

    Parameters
    ----------
    spec : str, Path or sequence of str
        A bundled set's name, a file (see ``zsretrieve.domain.class_files``), one template with ``{}``, or the
        templates.
    provider : callable
        Resolves ``templates_from`` references of a set.

    Raises
    ------
    PromptError
        If there is no such set or file, it holds no templates, or a template has no placeholder.
    """
    if not isinstance(spec, str | Path):
        return _template_list(spec, "given templates")
    path = _file(spec)
    if path is None:
        if "{" in str(spec) or " " in str(spec).strip():
            return _template_list([str(spec)], GIVEN_TEMPLATE)
        own = 'A template of your own looks like "a photo of a {}.".'
        raise PromptError(f"there is no template set or file '{spec}'", hint=_nearest(str(spec), "templates") + own)
    if path.suffix.lower() == ".toml":
        content = _read_toml(path)
        if not _holds(content, "templates"):
            raise PromptError(f"'{path}' holds no templates", hint=_nearest("", "templates"))
        return _template_list(_strings(content, "templates", path, provider), path.stem)
    listed = class_files.read_templates(path, read_text(path, PromptError))
    return replace(_template_list(listed.names, str(path)), form=listed.form)


def template_text(templates: Sequence[str], source: str, suffix: str) -> str:
    """The content of a file of templates that ``read_templates`` reads back, by the suffix of its name.

    Parameters
    ----------
    templates : sequence of str
    source : str
        Where they come from, in one line; only written to TOML.
    suffix : str
        ``.toml``, ``.json``, or anything else for one template per line.

    Raises
    ------
    PromptError
        If a template does not fit on a line.
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
    """Put every class name into every template; prompts that were given class by class stay as they are.

    Raises
    ------
    PromptError
        If there are no templates, or prompts that were given class by class leave no use for them.
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
    return tuple(name for name, count in Counter(map(composed, prompts.class_names)).items() if count > 1)


def prompt_digest(prompts: PromptSet) -> str:
    """sha256 over class names, keys and prompts."""
    content = json.dumps([prompts.class_names, prompts.class_keys, prompts.prompts], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _class_list(
    names: Sequence[str],
    source: str,
    keys: Sequence[str | None] | None = None,
    prompts: Sequence[Sequence[str]] = (),
    default_templates: str | None = None,
) -> ClassList:
    if not names:
        raise PromptError(f"'{source}' holds no class names", hint="Give at least one name.")
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise PromptError(f"class name {position} of '{source}' is empty", hint="Remove it or give it a name.")
    if keys is not None and len(keys) != len(names):
        raise PromptError(f"'{source}' holds {len(names)} names but {len(keys)} keys", hint="Give each name one key.")
    return ClassList(
        tuple(names), tuple(keys or (None,) * len(names)), source, tuple(map(tuple, prompts)), default_templates
    )


def _template_list(templates: Sequence[str], source: str) -> TemplateList:
    if not templates:
        raise PromptError(f"'{source}' holds no templates", hint='Give at least one, e.g. "a photo of a {}.".')
    plain = tuple(class_files.PLACEHOLDER.sub("{}", template) for template in templates)
    for position, template in enumerate(plain, start=1):
        if "{}" not in template:
            raise PromptError(
                f"template {position} of '{source}' has no placeholder: '{template}'",
                hint="Write {} where the class name goes; {c}, {class} and {label} mean the same.",
            )
    return TemplateList(plain, source)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, PromptError))
    except tomllib.TOMLDecodeError as error:
        raise PromptError(f"'{path}' is not valid TOML: {error}", hint=_FORM) from error


def _strings(content: dict[str, Any], key: str, path: Path, provider: Provider) -> list[str]:
    if f"{key}_from" in content:
        return provider(str(content[f"{key}_from"]))
    if not _is_strings(content[key]):
        raise PromptError(f"'{key}' of '{path}' must be a list of strings", hint=_FORM)
    return list(content[key])


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _holds(content: dict[str, Any], key: str) -> bool:
    return key in content or f"{key}_from" in content


def _bundled_files() -> list[Path]:
    """The files of the bundled sets: inside the wheel, or at the top of a checkout."""
    return sorted((_IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT).glob("*.toml"))


def _file(spec: str | Path) -> Path | None:
    """The file of a bundled set or of the user; None for a list of names or a template."""
    bundled = next((path for path in _bundled_files() if path.stem == str(spec)), None)
    try:
        return bundled or (Path(spec) if Path(spec).is_file() else None)
    except (OSError, ValueError):  # a list of names or a sentence may be too long for a path
        return None


def _nearest(name: str, key: str) -> str:
    names = [path.stem for path in _bundled_files() if _holds(_read_toml(path), key)]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}? " if close else f"Bundled sets: {', '.join(names)}. "
