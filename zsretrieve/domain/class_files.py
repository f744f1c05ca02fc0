"""The forms in which people have classes and templates in files: lists, tables, numbered lines, JSON, Python."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zsretrieve.domain.errors import PromptError
from zsretrieve.domain.names import SYNSET
from zsretrieve.domain.text_files import Pairs, fields_of, lines_of, table_of, tidy, value_of
from zsretrieve.domain.wording import shorten

PLACEHOLDER = re.compile(r"\{(?:|c|class|label)\}")

_FORM = "See docs/formats.md for the forms."
_SYNSET_LINE = re.compile(rf"({SYNSET.pattern})[\s,;:]+(.+)")
_NUMBERED = re.compile(r"[\"']?(\d{1,6})[\"']?(?:[:;,)\t]|\.(?=\s)|\s)\s*(.+)")
_BULLET = re.compile(r"[-*•]\s+(.+)")
_YAML_KEY = re.compile(r"(?:class_names|classes|names|labels)\s*:\s*(\[.*\]|)")
_YAML_COMMENT = re.compile(r"(?:^|\s)#.*")
# The names of columns and fields that hold class names, synset IDs, numbers and templates, the likeliest first.
_NAMES = ("class_name", "classname", "class name", "name", "label_name", "display_name", "class", "label", "category")
_KEYS = ("wnid", "synset", "synset_id", "synset id", "key", "class_key")
_NUMBERS = ("id", "index", "idx", "number", "class_id", "label_id", "category_id", "#", "")
_TEMPLATES = ("template", "templates", "prompt", "prompts")
_IMAGES = ("filename", "file_name", "file", "path", "filepath", "image", "image_id", "imageid", "img")
_LISTS = ("class_names", "classes", "names", "id2label", "label2id", "class_to_idx", "categories", "labels")
_BESIDE = ("class_keys", "prompts", "source", "nc", "num_classes", "info", "licenses", *_TEMPLATES)
_SHOWN = 80


@dataclass(frozen=True)
class Listed:
    """What a file lists. ``form`` says how it was read, unless that is one entry per line or a plain list."""

    names: list[str]
    keys: list[str | None] | None = None
    prompts: list[list[str]] | None = None
    form: str | None = None


def read_classes(path: Path, text: str) -> Listed:
    """Class names from a text in any of the forms. Raises PromptError for another, with what is in it."""
    value = _value(path, text)
    listed = _classes_of_lines(path, text) if value is None else _classes_of(path, value)
    if listed.names and all(PLACEHOLDER.search(name) for name in listed.names) and listed.prompts is None:
        raise PromptError(
            f"'{path}' holds templates, not classes: '{_cut(listed.names[0])}'", hint="Give it as `templates`."
        )
    return replace(listed, names=[tidy(name) for name in listed.names])


def read_templates(path: Path, text: str) -> Listed:
    """Templates from a text in any of the forms, as ``names``. Raises PromptError as ``read_classes`` does."""
    value = _value(path, text)
    if isinstance(value, Pairs):
        value = next((held for name, held in value.pairs if name.lower() in _TEMPLATES), value)
    fields = fields_of(value) if isinstance(value, list) else None
    if fields is not None and (field := next((name for name in _TEMPLATES if name in fields[0]), None)) is not None:
        return Listed(_texts(path, [row.get(field) for row in fields]), form=f"objects, field '{field}'")
    if value is not None:
        return Listed(_texts(path, value), form=_form_of(path, value))
    rows = table_of(text)
    header = [cell.lower() for cell in rows[0]] if rows else []
    column = next((name for name in _TEMPLATES if name in header), None)
    if column is not None and len(rows) > 1:
        at = header.index(column)
        return Listed([row[at] if at < len(row) else "" for row in rows[1:]], form=f"a table, column '{column}'")
    if path.suffix.lower() in (".csv", ".tsv") and all(len(row) == 1 for row in rows):
        return Listed([row[0] for row in rows], form="a table")
    lines = _lines(path, text)
    parts = [tidy(part) for part in lines[0].split(",")] if len(lines) == 1 else []
    if len(parts) > 1 and all(PLACEHOLDER.search(part) for part in parts):
        return Listed(parts, form="a comma-separated list")
    return _without_bullets(lines) or Listed(lines)


def _value(path: Path, text: str) -> Any:
    """What a file of JSON or Python says; None if it is lines."""
    value = value_of(text)
    if value is None and path.suffix.lower() in (".json", ".jsonl"):
        raise PromptError(f"'{path}' is not valid JSON", hint=_FORM)
    if value in ([], Pairs([])):
        raise PromptError(f"'{path}' holds an empty list", hint=_FORM)
    return value


def _classes_of(path: Path, value: Any) -> Listed:
    form = _form_of(path, value)
    if isinstance(value, Pairs) and value.pairs:
        return _classes_of_object(path, value)
    if not isinstance(value, list):
        raise _not_strings(path, value)
    if all(isinstance(entry, str) for entry in value):
        return Listed(value, form=form)
    if all(isinstance(entry, list) and len(entry) == 2 for entry in value):
        return _of_pairs(path, value)
    rows = fields_of(value)
    if rows is not None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return _of_table(path, columns, [[row.get(name) for name in columns] for row in rows], "field")
    raise _not_strings(path, value)


def _classes_of_object(path: Path, value: Pairs) -> Listed:
    names, held = [name for name, _ in value.pairs], [one for _, one in value.pairs]
    content = {name.lower(): one for name, one in value.pairs}
    inner = next((name for name in _LISTS if name in content), None)
    if inner is not None and ("id2label" in content or set(content) <= {*_LISTS, *_BESIDE}):
        return _classes_inside(path, inner, content)
    if all(isinstance(one, int) and not isinstance(one, bool) for one in held):
        return _of_pairs(path, [[number, name] for name, number in value.pairs])
    if all(name.isdecimal() for name in names):
        if all(isinstance(one, list) and len(one) == 2 and _is_synset(one[0]) for one in held):
            ordered = _in_order(path, [int(name) for name in names], held)
            return _keyed([tuple(one) for one in ordered], "numbered synset IDs and names")
        if all(isinstance(one, str) for one in held):
            return _of_pairs(path, [[int(name), one] for name, one in value.pairs])
    if all(map(_is_synset, names)) and all(isinstance(one, str) for one in held):
        return _keyed(value.pairs, "synset IDs with names")
    for name, group in value.pairs:
        if isinstance(group, list) and not (group and all(isinstance(text, str) and text.strip() for text in group)):
            raise PromptError(f"class '{name}' of '{path}' has no prompt or an empty one", hint="Give it a prompt.")
        if not isinstance(group, list):
            raise PromptError(
                f"'{path}' must hold a list of strings, or an object of class names with lists of prompts, but "
                f"'{name}' has {_described(group)}",
                hint=_FORM,
            )
    return Listed(names, prompts=held)


def _classes_inside(path: Path, inner: str, content: dict[str, Any]) -> Listed:
    """The classes in a field of an object, with what ``prompts show --format json`` prints beside it."""
    listed = _classes_of(path, content[inner])
    keys, prompts = content.get("class_keys"), content.get("prompts")
    if isinstance(keys, list):
        listed = replace(listed, keys=[key or None for key in _texts(path, [key or "" for key in keys])])
    if isinstance(prompts, list):
        listed = replace(listed, prompts=[_texts(path, group) for group in prompts])
    return replace(listed, form=f"the field '{inner}'")


def _of_pairs(path: Path, pairs: Sequence[Sequence[Any]]) -> Listed:
    """Classes from pairs of a synset ID or a number and a name, in any order of the two."""
    if all(isinstance(one, str) and isinstance(other, int) for one, other in pairs):
        pairs = [(number, name) for name, number in pairs]
    if all(isinstance(number, int) and isinstance(name, str) for number, name in pairs):
        numbers = [number for number, _ in pairs]
        return Listed(_in_order(path, numbers, [name for _, name in pairs]), form="numbered names")
    if all(_is_synset(key) and isinstance(name, str) for key, name in pairs):
        return _keyed(pairs, "synset IDs with names")
    raise PromptError(
        f"'{path}' holds pairs that are not a synset ID or a number with a name: {_described(list(pairs[0]))}",
        hint=_FORM,
    )


def _keyed(pairs: Sequence[Any], form: str | None) -> Listed:
    names = [name for _, name in pairs]
    if any("_" in name for name in names) and not any(" " in name for name in names):
        names = [name.replace("_", " ") for name in names]  # as Keras writes them
    return Listed(names, [key for key, _ in pairs], form=form)


def _classes_of_lines(path: Path, text: str) -> Listed:
    if path.suffix.lower() in (".yaml", ".yml"):
        return _of_yaml(path, text)
    rows = table_of(text)
    is_table = path.suffix.lower() in (".csv", ".tsv")
    header = [cell.lower() for cell in rows[0]] if rows else []
    known = [cell for cell in header if cell in (*_NAMES, *_KEYS, *_NUMBERS, *_IMAGES)]
    if len(rows) > 1 and (len(known) == len(header) > 1 or (is_table and set(header) & {*_NAMES})):
        return _of_table(path, header, rows[1:], "column")
    lines = _lines(path, text)
    synsets = [match for line in lines if (match := _SYNSET_LINE.fullmatch(line))]
    if lines and len(synsets) == len(lines):
        return _keyed([(match[1], match[2]) for match in synsets], None)
    if (listed := _without_bullets(lines) or _without_numbers(lines)) is not None:
        return listed
    if len(lines) == 1 and (is_table or "," in lines[0]):
        names = [cell for row in rows for cell in row] if is_table else _split(lines[0])
        return Listed(names, form="a comma-separated list")
    if is_table and any(len(row) > 1 for row in rows):
        raise PromptError(
            f"'{path}' is a table, and its first line does not say which column holds class names: "
            f"{shorten(rows[0], 5)}",
            hint="Write a first line with the name of each column: name, or key,name.",
        )
    return Listed([row[0] for row in rows], form="a table") if is_table else Listed(lines)


def _of_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], what: str) -> Listed:
    """Classes from a table whose columns are named, in the order of its numbers if it has these."""
    if set(header) & {*_IMAGES} and len(header) > 1:
        raise PromptError(
            f"'{path}' lists images, not classes: its {what}s are {', '.join(header)}",
            hint="Give it as `ground_truth`, and the names of the classes in a file of their own.",
        )
    columns = {name: [row[at] if at < len(row) else None for row in rows] for at, name in enumerate(header)}
    keys = next((name for name in columns if name in _KEYS or all(map(_is_synset, columns[name]))), None)
    name = next((name for name in _NAMES if name in columns and name != keys), None)
    if name is None:
        raise PromptError(
            f"'{path}' holds the {what}s {', '.join(header)}, and none of them is known to hold class names",
            hint="Call one of them name.",
        )
    names = _texts(path, columns[name])
    numbers = next((columns[one] for one in _NUMBERS if one in columns), [])
    order = [int(text) for text in map(str, numbers) if text.isdecimal()]
    if sorted(order) in (list(range(len(rows))), list(range(1, len(rows) + 1))):
        at = sorted(range(len(rows)), key=order.__getitem__)
        names, columns = [names[row] for row in at], {one: [held[row] for row in at] for one, held in columns.items()}
    return Listed(names, None if keys is None else [*_texts(path, columns[keys])], form=f"a table, {what} '{name}'")


def _of_yaml(path: Path, text: str) -> Listed:
    """Classes from a list in YAML, by itself or below a key such as YOLO's ``names``."""
    lines = [tidy(_YAML_COMMENT.sub("", line)) for line in lines_of(text)]
    lines = [line for line in lines if line not in ("", "---")]
    for at, line in enumerate(lines):
        key = _YAML_KEY.fullmatch(line)
        if key is not None and key[1].startswith("["):
            return Listed(_split(key[1].strip("[]")), form="a list in YAML")
        if key is not None:
            lines = [
                *itertools.takewhile(lambda entry: _BULLET.fullmatch(entry) or entry[:1].isdigit(), lines[at + 1 :])
            ]
            break
    listed = _without_bullets(lines) or _without_numbers(lines) if lines else None
    if listed is None:
        raise PromptError(
            f"'{path}' is YAML, and holds no list of names by itself or as {', '.join(_LISTS[:3])}",
            hint="Write one name per line in a text file.",
        )
    return listed


def _without_bullets(lines: list[str]) -> Listed | None:
    bullets = [match[1] for line in lines if (match := _BULLET.fullmatch(line))]
    return Listed([_unquoted(one) for one in bullets], form="a bulleted list") if len(bullets) == len(lines) else None


def _without_numbers(lines: list[str]) -> Listed | None:
    """Lines that are numbered from 0 or 1; not names that begin with a number, such as 1 euro and 2 euro."""
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    numbers, names = [int(match[1]) for match in matches], [_unquoted(match[2]) for match in matches]
    if len(matches) < max(2, len(lines)) or numbers[0] > 1 or len(set(names)) < len(names):
        return None
    return Listed(names, form="a numbered list") if numbers == [*range(numbers[0], numbers[0] + len(lines))] else None


def _in_order(path: Path, numbers: list[int], entries: Sequence[Any]) -> list[Any]:
    """Entries by their numbers, which count from 0 or 1 without gaps."""
    first = min(numbers)
    if first > 1 or sorted(numbers) != list(range(first, first + len(numbers))):
        raise PromptError(
            f"'{path}' numbers {len(numbers)} classes from {first} to {max(numbers)}, with gaps or repeats",
            hint="Number them from 0, or give the names alone.",
        )
    return [entry for _, entry in sorted(zip(numbers, entries, strict=True), key=lambda pair: pair[0])]


def _lines(path: Path, text: str) -> list[str]:
    lines = [tidy(line) for line in lines_of(text)]
    if "" in lines[:-1]:
        raise PromptError(
            f"line {lines.index('') + 1} of '{path}' is empty", hint="Write one entry per line, without empty lines."
        )
    return [line for line in lines if line]


def _split(line: str) -> list[str]:
    return [_unquoted(part) for part in line.removesuffix(",").split(",")]


def _unquoted(entry: str) -> str:
    entry = tidy(entry).removesuffix(",")
    return entry[1:-1] if len(entry) > 1 and entry[0] == entry[-1] and entry[0] in "'\"" else entry


def _texts(path: Path, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise _not_strings(path, value)
    return value


def _not_strings(path: Path, value: Any) -> PromptError:
    return PromptError(f"'{path}' must hold a list of strings, and holds {_described(value)}", hint=_FORM)


def _described(value: Any) -> str:
    """A value as it is, or what is first in it."""
    if isinstance(value, Pairs):
        return f"an object with {shorten([name for name, _ in value.pairs], 5)}"
    if isinstance(value, list) and len(value) > 1:
        other = next((entry for entry in value if not isinstance(entry, str)), value[0])
        return f"a list with {_described(other)}"
    return _cut(str(value))


def _is_synset(value: Any) -> bool:
    return isinstance(value, str) and SYNSET.fullmatch(value) is not None


def _form_of(path: Path, value: Any) -> str | None:
    return None if path.suffix.lower() == ".json" and isinstance(value, list) else "a list of texts"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
