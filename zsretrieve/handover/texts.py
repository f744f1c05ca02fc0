"""Values as JSON, XML and YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from zsretrieve.domain.errors import SourceError

# https://www.w3.org/TR/xml/#charsets
_NOT_OF_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OF_YAML = {'"': r"\"", "\\": r"\\"}


def json_lines(rows: Iterable[Any]) -> str:
    """A list with one element per line, in ASCII."""
    return "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"


def json_object(content: Mapping[str, Any]) -> str:
    """An object whose lists have one element per line."""
    parts = (json_lines(value) if isinstance(value, list) else json.dumps(value) for value in content.values())
    return "{" + ",\n".join(f"{json.dumps(key)}: {part}" for key, part in zip(content, parts, strict=True)) + "}\n"


def fits_xml(text: str) -> bool:
    """Whether a text has only characters that XML allows."""
    return _NOT_OF_XML.search(text) is None


def attributes(values: Mapping[str, Any]) -> str:
    """The attributes of an element of XML."""
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())


def xml_classes(class_names: Iterable[str]) -> list[str]:
    """The different names of classes. Raises SourceError for one that XML cannot hold."""
    names = list(dict.fromkeys(class_names))
    for name in names:
        if not fits_xml(name):
            raise SourceError(
                f"the class name {name!r} holds a character that XML does not allow",
                hint="Rename the class, or use `form` coco.",
            )
    return names


def yaml_text(text: str) -> str:
    """A text in double quotes."""
    return '"' + "".join(_OF_YAML.get(c, c) if c.isprintable() else f"\\U{ord(c):08x}" for c in text) + '"'
