"""Entry point of the ``pixfold`` command and of ``python -m pixfold``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say which package it lacks and how to install it."""
    try:
        from pixfold.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "pixfold":
            raise
        sys.exit(f'error: the command line needs {error.name}, which is not installed: pip install "pixfold[train]"')
    run()


if __name__ == "__main__":
    main()
