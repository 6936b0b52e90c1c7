"""Where samples come from: one module per format, all of one small protocol."""

from pixfold.sources.arrays.array_source import ArraySource
from pixfold.sources.base import Source, normalize_rows
from pixfold.sources.formats import SUFFIXES
from pixfold.sources.open import open_source, side_by_side
from pixfold.sources.options import ReadOptions

__all__ = ["SUFFIXES", "ArraySource", "ReadOptions", "Source", "normalize_rows", "open_source", "side_by_side"]
