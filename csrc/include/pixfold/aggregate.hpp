// aggregate: add a batch of attributions to per-class, per-pixel running moments.
//
//     a[b, p] = sum over channels c of attributions[b, c, p]
//     for each sample b with keep[b], k = labels[b]:  count[k] += 1, and mean[k, p], M2[k, p] and mean_abs[k, p] of
//     a[b, p] and |a[b, p]| are updated by Welford's recurrence (1962) in double, samples in order
// A per-feature view is taken from the pixels afterwards, by the layout. State arrays are row-major
// (n_classes, n_pixels). Every attribution and label is checked by the caller (all_finite). The bits do not depend on
// the number of threads: each pixel belongs to one thread.
#pragma once

#include <cstdint>

#include "pixfold/views.hpp"

namespace pixfold {

struct AggregateArguments {
    const void* attributions;  // row-major (n_samples, n_channels, n_pixels): f32, f64, f16 or bf16
    DType dtype;
    std::int64_t n_samples;
    std::int64_t n_channels;  // summed
    std::int64_t n_pixels;
    const std::int64_t* labels;  // [n_samples], each in [0, n_classes)
    const bool* keep;            // [n_samples]
    std::int64_t n_classes;
    std::int64_t* count;  // [n_classes], updated
    double* mean;
    double* m2;
    double* mean_abs;
};

using Aggregate = void (*)(const AggregateArguments&, int threads);

// Whether no element is NaN or infinite.
using AllFinite = bool (*)(const void* data, DType dtype, std::int64_t n, int threads);

}  // namespace pixfold
