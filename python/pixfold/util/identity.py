"""What was made of an object, kept as long as the object lives, found by its identity."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class KeptWith(Generic[Made]):
    """Things made of objects: of each object the `most` newest, for as long as it lives.

    Objects are told apart by identity: layouts are slow to compare. Several threads may use it at once; each thing is
    made by one of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[int, tuple[weakref.ref[Any], dict[Hashable, Made]]] = {}
        # An owner may go, and its things with it, while this thread is inside.
        self._lock = threading.RLock()

    def get(self, owner: object, key: Hashable, make: Callable[[], Made]) -> Made:
        """Give what `make` made for this owner and key, now or before."""
        with self._lock:
            number = id(owner)
            if number not in self._of:
                self._of[number] = (weakref.ref(owner, lambda _: self._forget(number)), {})
            made = self._of[number][1]
            if key not in made:
                made[key] = make()
                while len(made) > self._most:
                    made.pop(next(iter(made)))
            return made[key]

    def all(self, owner: object) -> list[Made]:
        """Give everything that is kept of this owner."""
        with self._lock:
            return list(self._of[id(owner)][1].values()) if id(owner) in self._of else []

    def _forget(self, number: int) -> None:
        with self._lock:
            self._of.pop(number, None)
