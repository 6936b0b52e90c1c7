// rank: order features by importance.
//
// sort_descending writes the positions of values by decreasing value, equal values by increasing position (a stable
// radix sort). average_ranks writes rank 1 for the largest value; equal values share the mean of the ranks they span.
// -0.0 equals 0.0; NaN is refused by the caller.
#pragma once

#include <cstdint>

namespace pixfold {

void sort_descending(const double* values, std::int64_t n, std::int64_t* order);
void average_ranks(const double* values, const std::int64_t* order, std::int64_t n, double* ranks);

}  // namespace pixfold
