// Sums of float32 samples by block and feature: the input that column_stats meets most often.
#pragma once

#include "pixfold/column_stats.hpp"
#include "stats_parts.hpp"

namespace pixfold::cuda {

// Whether sum_floats() can take it: floats whose features lie side by side, no row scale, and no floor but a
// logarithm's.
bool is_plain_floats(const DenseView& x, const StatsArguments& how);

// Fills `parts`. The same bits as of samples of any other strides (column_stats.cu); the contract is
// column_stats_dense's (pixfold/column_stats.hpp).
void sum_floats(const DenseView& x, const StatsArguments& how, const StatsParts& parts, unsigned long long* counts,
                void* stream);

}  // namespace pixfold::cuda
