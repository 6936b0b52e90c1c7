"""Networks of users by name: ``package.module:callable``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from torch import nn

from pixfold.errors import InputError
from pixfold.util.text import must_be, reason_of

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_code(name: Any) -> bool:
    """Whether a backbone is named by code, which only the user may ask to be imported: never a file."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not name.startswith("timm:")


def imported(name: str) -> nn.Module | Callable[..., nn.Module]:
    """Import what a name says.

    Parameters
    ----------
    name : str
        ``"package.module:callable"``; it runs the module's code.

    Raises
    ------
    InputError
        When there is no such thing, or it is neither a module of torch nor callable.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"backbones.build: backbone must be package.module:callable that can be imported, got {name!r} "
            f"({reason_of(error)})"
        ) from error
    if not isinstance(found, nn.Module) and not callable(found):
        raise InputError(must_be("backbones.build", f"backbone {name!r}", "a torch module or a callable", found))
    network: nn.Module | Callable[..., nn.Module] = found
    return network
