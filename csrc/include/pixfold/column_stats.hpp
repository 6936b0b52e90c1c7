// column_stats: one pass over the samples gives, per feature, what every normaliser is made of.
//
//     v[i, j] = g((x[i, j] + offset[j]) * row_scale[i]),  g = log1p or identity; NaN in x is missing
//     count, missing, zeros (x == 0), and min, max, mean, M2 = sum (v - mean)^2 of the values that are there
// A feature without values has count 0, NaN min, max and mean, and M2 0. With an infinite v, or one that is not a
// number although x is (the logarithm of a value below -1), mean and M2 are infinite or NaN; min and max leave NaN out.
// clip_below_zero as in fold. n_negative and n_infinite count x + offset below zero and infinite values of x.
//
// Sums are double. Dense samples are summed in order in blocks of stats_block samples, about a pivot that the block
// itself gives: a feature's first value there is, or 0 where its first 8 values spread over an eighth of their size or
// more. Blocks are merged in order by the formula of Chan, Golub and LeVeque (1983), and so are segments of
// stats_segment samples. A feature's bits therefore depend on its own values and on nothing else: not on the number of
// threads, the other features or the strides. Cut at blocks within a segment, or at segments, and merged in order by
// that formula (ColumnStats.merge), the parts give the bits of the whole; any other cut gives 1e-6 relative.
// Sparse samples are summed likewise, in blocks of as many rows as give a feature a few dozen stored values.
#pragma once

#include <cstdint>

#include "pixfold/views.hpp"

namespace pixfold {

constexpr std::int64_t stats_block = 128;
constexpr std::int64_t stats_segment = 64 * stats_block;

struct StatsArguments {
    bool log;
    bool clip_below_zero;
    const double* offset;     // [n_features], or null for 0
    const double* row_scale;  // [n_samples], or null for 1
};

// Arrays of [n_features], written by the kernel.
struct StatsOutput {
    std::int64_t* count;
    std::int64_t* missing;
    std::int64_t* zeros;
    double* min;
    double* max;
    double* mean;
    double* m2;
};

struct StatsCounts {
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
};

using ColumnStatsDense = StatsCounts (*)(const DenseView&, const StatsArguments&, const StatsOutput&, int threads);
using ColumnStatsCsr = StatsCounts (*)(const CsrView&, const StatsArguments&, const StatsOutput&, int threads);

// Sum over the features of each sample, NaN left out, in double. The order of the additions is fixed by the number of
// features and the storage alone.
using RowSumsDense = void (*)(const DenseView&, double* out, int threads);
using RowSumsCsr = void (*)(const CsrView&, double* out, int threads);

}  // namespace pixfold
