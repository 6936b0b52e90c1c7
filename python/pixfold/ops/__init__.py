"""The ops: every one picks its kernels by the kind of array that it gets."""

from pixfold.ops.aggregate import AttributionAccumulator, AttributionResult
from pixfold.ops.fold import fold
from pixfold.ops.rank import rank, top_k
from pixfold.ops.stats import Census, ColumnStats, census, column_stats
from pixfold.ops.unfold import unfold

__all__ = [
    "AttributionAccumulator",
    "AttributionResult",
    "Census",
    "ColumnStats",
    "census",
    "column_stats",
    "fold",
    "rank",
    "top_k",
    "unfold",
]
