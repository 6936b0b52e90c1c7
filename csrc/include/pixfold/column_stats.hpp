// column_stats: one pass over the samples gives, per feature, what every normaliser is made of.
//
//     v[i, j] = g((x[i, j] + offset[j]) * row_scale[i]),  g = log1p or identity; NaN in x is missing
//     count, missing, zeros (x == 0), and min, max, mean, M2 = sum (v - mean)^2 of the values that are there
// A feature without values has count 0, NaN min, max and mean, and M2 0. The accumulators are double. Samples are
// summed in blocks of 128 in order, and blocks merged by the pairwise formula of Chan, Golub and LeVeque (1983), so
// the bits do not depend on the number of threads. clip_below_zero as in fold.
// n_negative and n_infinite count x + offset below zero and infinite values of x.
#pragma once

#include <cstdint>

#include "pixfold/views.hpp"

namespace pixfold {

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

// sum over the features of each sample, NaN left out, in double and in feature order.
using RowSumsDense = void (*)(const DenseView&, double* out, int threads);
using RowSumsCsr = void (*)(const CsrView&, double* out, int threads);

}  // namespace pixfold
