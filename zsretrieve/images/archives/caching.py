"""A cache of recently used values, for several threads at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """Values by key; the least recently used one is dropped first.

    A dropped value lives on while a thread uses it, so it must close itself when it is collected.

    Parameters
    ----------
    limit : int
        The highest sum of weights; the newest value is kept whatever its weight.
    weight : callable
        The weight of a value, 1 by default.
    """

    def __init__(self, limit: int, weight: Callable[[Kept], int] = lambda _: 1) -> None:
        self._limit = limit
        self._weight = weight
        self._total = 0
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, value: Kept) -> None:
        with self._lock:
            if key in self._kept:
                self._total -= self._weight(self._kept.pop(key))
            self._kept[key] = value
            self._total += self._weight(value)
            while self._total > self._limit and len(self._kept) > 1:
                self._total -= self._weight(self._kept.popitem(last=False)[1])

    def obtain(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The value of a key; it is made once, however many threads need it."""
        value = self.get(key)
        if value is not None:
            return value
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with making:
                value = self.get(key)
                if value is None:
                    value = make()
                    self.put(key, value)
                return value
        finally:
            with self._lock:
                self._making.pop(key, None)
