"""From the labels of a source to the classes of a prototype index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zsretrieve.domain.errors import ClassMappingError
from zsretrieve.domain.names import composed, number_in, plain_name
from zsretrieve.domain.records import PromptSet
from zsretrieve.domain.wording import shorten

_SHOWN = 10
# Folders that hold the folders of classes.
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def map_labels(labels: Iterable[str], prompts: PromptSet) -> dict[str, int]:
    """The class ID of every label, by synset ID, by name, or by number from 0 (``65``, or ``#65``).

    A name of several classes gets the lowest ID, as ties do. An exact name comes before one that differs in what
    ``plain_name`` ignores, which must not be ambiguous. Numbers are names if any of them is the name of a class:
    part of a list cannot count what the rest names.

    Parameters
    ----------
    labels : iterable of str
    prompts : PromptSet

    Returns
    -------
    dict of label to class ID

    Raises
    ------
    ClassMappingError
        If a label is not a class of the prototypes, or is ambiguous.
    """
    classes = _Classes(prompts)
    distinct = list(dict.fromkeys(labels))
    numbers = {label: digits for label in distinct if (digits := number_in(label)) is not None}
    as_names = {label: classes.find(label, digits) for label, digits in numbers.items()}
    are_names = any(class_id is not None for class_id in as_names.values())
    ids: dict[str, int] = {}
    missing: list[str] = []
    for label in distinct:
        class_id: int | None
        if label not in numbers:
            class_id = classes.find(label)
        elif are_names:
            class_id = as_names[label]
            _check_number(label, int(numbers[label]), class_id, prompts.class_names)
        else:
            number = int(numbers[label])
            class_id = number if number < len(prompts.class_names) else None
        if class_id is None:
            missing.append(label)
        else:
            ids[label] = class_id
    if missing:
        raise ClassMappingError(
            f"{len(missing)} of {len(missing) + len(ids)} labels are not classes of the prototypes: "
            f"{shorten(missing, _SHOWN)}",
            hint=_hint(
                missing, [int(digits) for digits in numbers.values()] if not are_names else [], prompts.class_names
            ),
        )
    return ids


def is_by_number(label: str, class_id: int, prompts: PromptSet) -> bool:
    """Whether ``map_labels`` gave a label this class because of its number rather than its name."""
    digits = number_in(label)
    if digits is None:
        return False
    names = {plain_name(name) for name in (prompts.class_names[class_id], prompts.class_keys[class_id]) if name}
    return names.isdisjoint({plain_name(digits), plain_name(label)})


class _Classes:
    """The classes by what they may be called."""

    def __init__(self, prompts: PromptSet) -> None:
        self._names = prompts.class_names
        self._by_key: dict[str, int] = {}
        self._by_name: dict[str, int] = {}
        self._by_plain_name: dict[str, set[int]] = {}
        for row, (name, key) in enumerate(zip(prompts.class_names, prompts.class_keys, strict=True)):
            if key is not None:
                self._by_key.setdefault(key, row)
            first = self._by_name.setdefault(composed(name), row)
            self._by_plain_name.setdefault(plain_name(name), set()).add(first)

    def find(self, label: str, digits: str = "") -> int | None:
        """The class that a label names, as it is or by its digits alone."""
        for exact in map(composed, filter(None, (label, digits))):
            if exact in self._by_key or exact in self._by_name:
                return self._by_key.get(exact, self._by_name.get(exact))
        plain = self._by_plain_name.get(plain_name(digits or label), set())
        if len(plain) > 1:
            names = " and ".join(f"'{self._names[row]}'" for row in sorted(plain))
            raise ClassMappingError(
                f"the label '{label}' could be any of {names}", hint="Write it exactly as one of the classes."
            )
        return next(iter(plain), None)


def _check_number(label: str, number: int, named: int | None, names: Sequence[str]) -> None:
    """Raise ClassMappingError for what was a number in its source and is the name of one class, the number of another.

    A number in a text is a name as any other.
    """
    if label.startswith("#") and named is not None and named != number < len(names):
        raise ClassMappingError(
            f"the ground truth says {number}, which is the name of class {named} and the number of another",
            hint="Use class names or synset IDs that are not numbers.",
        )


def _hint(missing: Sequence[str], numbers: Sequence[int], names: Sequence[str]) -> str:
    if numbers and min(numbers) == 1 and max(numbers) == len(names):
        return (
            f"Class numbers count from 0 ('{names[0]}') to {len(names) - 1} ('{names[-1]}'), and these labels seem to "
            "count from 1: subtract 1, or write class names."
        )
    if not numbers and missing and _SPLITS.issuperset(missing):
        return "These are names of splits: give the folder of one, a level further down."
    return (
        f"The prototypes have {shorten(names, 3)}. Name folders by class name or synset ID, or "
        "build prototypes that contain these classes."
    )
