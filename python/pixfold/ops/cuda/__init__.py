"""The ops on CUDA devices."""

from pixfold.ops.cuda.fold import check_folds

__all__ = ["check_folds"]
