"""The ops: one module each; every one picks its backend from where the array lives."""

from pixfold.ops.aggregate import AttributionAccumulator, AttributionResult
from pixfold.ops.census import Census, census
from pixfold.ops.column_stats import ColumnStats, column_stats
from pixfold.ops.fold import fold
from pixfold.ops.rank import rank, top_k
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
