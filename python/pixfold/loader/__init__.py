"""FoldLoader: batches of images from a source, read ahead, shuffled, sharded and folded as they are asked for."""

from pixfold.loader.fold_loader import FoldLoader
from pixfold.loader.memory_copy import in_memory

__all__ = ["FoldLoader", "in_memory"]
