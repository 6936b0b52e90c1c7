"""Which codecs Zarr arrays are decoded with: those of zarrs, without the GIL, where it is installed and works."""

from __future__ import annotations

import importlib.util
import os
import sys

ZARRS = "zarrs.ZarrsCodecPipeline"

_FORKED_FROM_ZARRS = False


def zarrs_works() -> bool:
    """Whether zarrs is installed, and this process no child of one that used it."""
    return not _FORKED_FROM_ZARRS and importlib.util.find_spec("zarrs") is not None


def _after_fork() -> None:
    """Do without zarrs in the child of a process that used it: its threads are not there, and it waits for them."""
    global _FORKED_FROM_ZARRS
    _FORKED_FROM_ZARRS = "zarrs" in sys.modules


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
