"""Errors that pixfold raises on purpose; the command line prints them without a traceback."""

from __future__ import annotations


class PixfoldError(Exception):
    """Base of every error that pixfold raises on purpose."""


class InputError(PixfoldError, ValueError):
    """Data or an argument cannot be used; the message names it, what it must be and what came."""


class OutputError(PixfoldError, OSError):
    """A result cannot be written where the user wants it."""


class PeerError(PixfoldError):
    """Another process that does the same job has failed or ended."""


class MissingDependencyError(PixfoldError, ImportError):
    """An optional package is not installed; the message holds the line that installs it."""


class BackendError(PixfoldError, RuntimeError):
    """The array lives where this build of pixfold has no kernels."""
