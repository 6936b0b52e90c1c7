"""What the ops call in the extension module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pixfold import _core

FUNCTIONS = [name for name in dir(_core) if not name.startswith("_") and callable(getattr(_core, name))]
RawCall = tuple[str, tuple[Any, ...], dict[str, Any]]


class Recorder:
    """Stands in the extension module for its functions and classes and keeps the calls that it sees."""

    def __init__(self) -> None:
        self.originals = {name: getattr(_core, name) for name in FUNCTIONS}
        self.seen: list[RawCall] = []
        for name, original in self.originals.items():
            setattr(_core, name, self._class(name, original) if isinstance(original, type) else self._op(name))

    def _op(self, name: str) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            result = self.originals[name](*args, **kwargs)
            self.seen.append((name, args, kwargs))
            return result

        return recorded

    def _class(self, name: str, original: type) -> type:
        recorder = self

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original.__init__(self, *args, **kwargs)  # type: ignore[misc]
            recorder.seen.append((name, args, kwargs))

        return type(name, (original,), {"__init__": __init__})
