"""patch: put these functions into an installed pydeepmapper, so that its own `run` uses them."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, TracebackType
from typing import Any

from pixfold.compat.pydeepmapper import accumulation, arrangements
from pixfold.errors import InputError
from pixfold.util.optional import require

# What was measured to be faster than there from 1,000 features on (at 19,319: 1.2 to 14 times), by the module that
# defines it there. The others are not slow: one comparison or formula each, Python's own shuffle, and its inverse.
_FASTER: dict[str, tuple[Callable[..., Any], ...]] = {
    "transform": (arrangements.to_images, arrangements.pixels_to_features),
    "accumulate": (
        accumulation.ranks_from_importances,
        accumulation.top_k_set,
        accumulation.selection_frequency,
        accumulation.mean_rank,
        accumulation.median_importance,
    ),
}

_lock = threading.Lock()
# The replaced functions, while there are any: ours and theirs.
_replaced: list[tuple[Any, Any]] = []


class Patch:
    """What :func:`patch` gives back: leaving it as a context manager undoes what that call did.

    Attributes
    ----------
    names : tuple of str
        The functions that are swapped.
    """

    def __init__(self, names: tuple[str, ...], *, is_first: bool) -> None:
        self.names = names
        self._is_first = is_first

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever patched before goes on with the patch.
        if self._is_first:
            unpatch()


def patch() -> Patch:
    """Swap the slow functions of the installed pydeepmapper for these, wherever its modules hold them.

    ``pydeepmapper.runner.run`` and ``evaluate`` then give the same results sooner. Patching twice is patching once.
    References that other packages took (``from pydeepmapper.transform import to_images``) stay as they are.

    Returns
    -------
    Patch
        ``with patch(): ...`` undoes it at the end; :func:`unpatch` does so at any time.

    Raises
    ------
    MissingDependencyError
        When pydeepmapper is not installed.
    InputError
        When the installed pydeepmapper lacks one of the functions or gives it other arguments.
    """
    with _lock:
        names = tuple(ours.__name__ for functions in _FASTER.values() for ours in functions)
        if _replaced:
            return Patch(names, is_first=False)
        require("pydeepmapper", "compare", "patch")
        pairs = []
        for home, functions in _FASTER.items():
            module = importlib.import_module(f"pydeepmapper.{home}")
            pairs += [(ours, _theirs(module, ours)) for ours in functions]
        _replaced.extend(pairs)
        _swap({id(theirs): ours for ours, theirs in pairs})
        return Patch(names, is_first=True)


def unpatch() -> None:
    """Put pydeepmapper's own functions back, also into modules that were imported in between."""
    with _lock:
        _swap({id(ours): theirs for ours, theirs in _replaced})
        _replaced.clear()


def _theirs(module: ModuleType, ours: Callable[..., Any]) -> Any:
    name = f"{module.__name__}.{ours.__name__}"
    theirs = getattr(module, ours.__name__, None)
    wanted = list(inspect.signature(ours).parameters)
    got = list(inspect.signature(theirs).parameters) if callable(theirs) else None
    if got != wanted:
        raise InputError(
            f"patch: {name} must take ({', '.join(wanted)}), got {'nothing of that name' if got is None else got}; "
            "patch knows pydeepmapper 1.0"
        )
    return theirs


def _swap(by_identity: dict[int, Any]) -> None:
    for module in _modules():
        for name, value in list(vars(module).items()):
            if id(value) in by_identity:
                setattr(module, name, by_identity[id(value)])


def _modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "pydeepmapper" and isinstance(module, ModuleType):
            yield module
