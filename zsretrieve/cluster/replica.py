"""What a pool knows of an actor that holds a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zsretrieve.domain.errors import ZsRetrieveError


@dataclass(eq=False)
class Replica:
    """An actor that holds a shard.

    ``is_up`` is None until it has answered once. It holds ``held`` after it was last made to hold ``asked`` and had
    ``problems`` with the rest; ``call`` is the watcher's call that runs, ``again`` the time for the next.
    ``reason`` is why it was lost.
    """

    shard: int
    bundle: int
    threads: int
    actor: Any = None
    is_up: bool | None = None
    held: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    problems: dict[str, ZsRetrieveError] = field(default_factory=dict)
    call: Any = None
    again: float = 0.0
    reason: str = ""

    def can(self, key: str) -> bool:
        """Whether it is worth asking."""
        return self.is_up is True and key in self.held
