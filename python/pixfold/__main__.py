"""Entry point of the ``pixfold`` command and of ``python -m pixfold``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line, or say which package it lacks and how to install it."""
    # OpenMP threads that spin while they wait for each other slow down whatever shares their cores. OpenMP reads this
    # when the first library that uses it is loaded, and the extension is one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from pixfold.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "pixfold":
            raise
        sys.exit(f'error: the command line needs {error.name}, which is not installed: pip install "pixfold[train]"')
    run()


if __name__ == "__main__":
    main()
