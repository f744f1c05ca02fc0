"""The API's own page of reference, made from its OpenAPI document, without scripts or anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>zsretrieve: API</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/reference.css">
</head>
<body>
"""


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        _HEAD,
        f"<header><h1>zsretrieve API <small>{escape(info['version'])}</small></h1>",
        f'<p>{escape(info["description"])} Every error is <code>{{"error": {{"kind", "message", "hint"}}}}</code>. ',
        'The same as a document for programs: <a href="/api/v1/openapi.json">openapi.json</a>. ',
        '<a href="/">To the page</a></p></header>\n<nav aria-label="Addresses"><ul>',
        *(
            f'<li><a href="#{_anchor(path, method)}"><b>{method.upper()}</b> {escape(path)}</a></li>'
            for path, method, _ in operations
        ),
        "</ul></nav>\n<main>",
        "<h2>Errors</h2>",
        _table("", sorted(_errors(operation for _, _, operation in operations))),
        *(_operation(path, method, operation) for path, method, operation in operations),
        "<h2>Values</h2>",
        *(_schema(name, schema) for name, schema in document.get("components", {}).get("schemas", {}).items()),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<section id="{_anchor(path, method)}"><h2><b>{method.upper()}</b> {escape(path)}</h2>',
        f"<p>{escape(operation.get('description', ''))}</p>",
    ]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [
            (parameter["name"], f"{parameter['in']}, {_type(parameter['schema'])}", _notes(parameter["schema"]))
            for parameter in parameters
        ]
        parts.append(_table("Parameters", rows))
    body = operation.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        parts.append(f"<p>Body: <code>{escape(kind)}</code>, {_type(content.get('schema', {}))}</p>")
    answers = [
        (status, escape(answer.get("description", "")), _type(schema) if (schema := _schema_of(answer)) else "")
        for status, answer in operation.get("responses", {}).items()
        if not _is_error(answer)
    ]
    parts += [_table("Answers", answers), "</section>"]
    return "\n".join(parts)


def _errors(operations: Iterable[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """The errors of all addresses, each once."""
    return {
        (status, escape(answer["description"]), _type(_schema_of(answer)))
        for operation in operations
        for status, answer in operation["responses"].items()
        if _is_error(answer)
    }


def _is_error(answer: dict[str, Any]) -> bool:
    return bool(_schema_of(answer).get("$ref", "").endswith("/ErrorAnswer"))


def _schema_of(answer: dict[str, Any]) -> dict[str, Any]:
    return next((one.get("schema", {}) for one in answer.get("content", {}).values()), {})


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = [
        (key, _type(one) + (" (needed)" if key in needed else ""), _notes(one))
        for key, one in schema.get("properties", {}).items()
    ]
    text = escape(schema.get("description", ""))
    return f'<section id="{escape(name)}"><h3>{escape(name)}</h3><p>{text}</p>{_table("", rows)}</section>'


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    """A table whose first cells are names, and whose others are HTML already."""
    if not rows:
        return ""
    cells = "\n".join(
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{kind}</td><td>{notes}</td></tr>'
        for name, kind, notes in rows
    )
    caption = f"<caption>{title}</caption>" if title else ""
    return f"<table>{caption}{cells}</table>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(
            f"<code>{escape(json.dumps(one))}</code>" for one in schema.get("enum", [schema.get("const")])
        )
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("type") or "any"))


_BOUNDS = {
    "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below",
    "maxLength": "at most (characters)", "minItems": "at least (entries)", "maxItems": "at most (entries)",
}  # fmt: skip


def _notes(schema: dict[str, Any]) -> str:
    options = [schema, *schema.get("anyOf", [])]
    notes = [f"{words} {one[key]}" for one in options for key, words in _BOUNDS.items() if key in one]
    if schema.get("default") is not None:
        notes.append(f"default {json.dumps(schema['default'])}")
    return escape("; ".join([*notes, *filter(None, [schema.get("description")])]))


def _anchor(path: str, method: str) -> str:
    return escape(f"{method}{path}".replace("{", "").replace("}", "").replace("/", "-"))
