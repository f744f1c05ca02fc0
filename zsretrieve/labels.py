"""From the labels of a source to the classes of a prototype index."""

from __future__ import annotations

import re
from collections.abc import Iterable

from zsretrieve.errors import ClassMappingError
from zsretrieve.records import PromptSet

_SHOWN = 8
_NUMBER = re.compile(r"#(\d+)")


def plain_name(name: str) -> str:
    """A name without regard to case, underscores and runs of spaces, as folders spell it."""
    return " ".join(name.replace("_", " ").casefold().split())


def map_labels(labels: Iterable[str], prompts: PromptSet) -> dict[str, int]:
    """The class id of every label, by synset id, by name, or by number (``#65``).

    A name held twice goes to the lowest id, as ties do.

    Parameters
    ----------
    labels : iterable of str
    prompts : PromptSet

    Returns
    -------
    dict of label to class id

    Raises
    ------
    ClassMappingError
        If any label is no class of the prototypes; all of them are counted and the first ones named.
    """
    by_name: dict[str, int] = {}
    by_key: dict[str, int] = {}
    for class_id, (name, key) in enumerate(zip(prompts.class_names, prompts.class_keys, strict=True)):
        by_name.setdefault(plain_name(name), class_id)
        if key is not None:
            by_key.setdefault(key, class_id)
    found: dict[str, int] = {}
    missing: list[str] = []
    for label in dict.fromkeys(labels):
        class_id = by_key.get(label, by_name.get(plain_name(label), -1))
        if class_id < 0 and (number := _NUMBER.fullmatch(label)) and int(number[1]) < len(prompts.class_names):
            class_id = int(number[1])
        if class_id < 0:
            missing.append(label)
        else:
            found[label] = class_id
    if missing:
        shown = ", ".join(f"'{label}'" for label in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ClassMappingError(
            f"{len(missing)} of {len(missing) + len(found)} labels are no class of the prototypes: {shown}{more}",
            hint=f"The prototypes know {_some(prompts)}. Name folders by class name or synset id, or build prototypes "
            "that hold these classes.",
        )
    return found


def _some(prompts: PromptSet) -> str:
    names = ", ".join(f"'{name}'" for name in prompts.class_names[:3])
    rest = len(prompts.class_names) - 3
    return f"{names} and {rest} more" if rest > 0 else names
