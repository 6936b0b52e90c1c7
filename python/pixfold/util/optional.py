"""Optional packages are imported where they are used; a missing one is an error with the line that installs it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from pixfold.errors import MissingDependencyError


def require(module: str, extra: str, purpose: str) -> Any:
    """Import and return an optional module.

    Parameters
    ----------
    module : str
        Dotted module name, for example ``"anndata"``.
    extra : str
        The pixfold extra that installs it.
    purpose : str
        What needs it, as the first words of the message ("reading .h5ad files").

    Raises
    ------
    MissingDependencyError
        When the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        raise MissingDependencyError(
            f'{purpose} needs {top}, which is not installed: pip install "pixfold[{extra}]"'
        ) from error


def is_torch(x: object) -> bool:
    """Whether `x` is a torch tensor, found out without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)
