"""From the labels of a source to the classes of a prototype index."""

from __future__ import annotations

import re
from collections.abc import Iterable

from zsretrieve.errors import ClassMappingError
from zsretrieve.records import PromptSet

_SHOWN = 10
_NUMBER = re.compile(r"#(\d{1,18})")


def plain_name(name: str) -> str:
    """A name without regard to case, underscores and runs of spaces, as folders spell it."""
    return " ".join(name.replace("_", " ").casefold().split())


def map_labels(labels: Iterable[str], prompts: PromptSet) -> dict[str, int]:
    """The class id of every label, by synset id, by name, or by number (``#65``).

    A name held twice goes to the lowest id, as ties do. An exact name goes before one that differs in case or
    underscores, which counts only if it is the one such name.

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
        If any label is no class of the prototypes, or may be two.
    """
    by_key: dict[str, int] = {}
    by_name: dict[str, int] = {}
    by_plain_name: dict[str, set[int]] = {}
    for row, (name, key) in enumerate(zip(prompts.class_names, prompts.class_keys, strict=True)):
        if key is not None:
            by_key.setdefault(key, row)
        by_plain_name.setdefault(plain_name(name), set()).add(by_name.setdefault(name, row))
    found: dict[str, int] = {}
    missing: list[str] = []
    for label in dict.fromkeys(labels):
        class_id: int | None
        plain = by_plain_name.get(plain_name(label), set())
        if number := _NUMBER.fullmatch(label):
            class_id = _by_number(int(number[1]), by_name.get(number[1]), len(prompts.class_names))
        elif label in by_key or label in by_name:
            class_id = by_key.get(label, by_name.get(label))
        else:
            class_id = next(iter(plain), None)
            if len(plain) > 1:
                names = " and ".join(f"'{prompts.class_names[row]}'" for row in sorted(plain))
                raise ClassMappingError(
                    f"the label '{label}' may be any of {names}", hint="Write it exactly as one of the classes."
                )
        if class_id is None:
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


def _by_number(number: int, named: int | None, n_classes: int) -> int | None:
    """A number counts from 0; where a class is named by it, the two readings must agree."""
    if named is not None and named != number:
        raise ClassMappingError(
            f"the ground truth says {number}, which is the name of class {named} and the number of another",
            hint="Write class names or synset ids that are no numbers.",
        )
    return number if number < n_classes else None
