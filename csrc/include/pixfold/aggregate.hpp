// aggregate: add a batch of attributions to per-class, per-pixel running moments, in one pass.
//
//     a[b, p] = sum over channels c of attributions[b, c, p]
// For each class of the batch, n samples seen before and m in the batch, N = n + m, all sums over those m in order:
//     q = n > 0 ? mean[p] : a[first sample, p]
//     S = sum (a - q),  Q = sum (a - q)^2,  A = sum |a|
//     mean' = q + S / N,  m2' = m2 + (Q - S * (S / N)),  mean_abs' = mean_abs * (n / N) + A / N
// This is the pairwise formula of Chan, Golub and LeVeque (1983), with the mean before as the pivot of the new samples.
// Everything is double. A per-feature view is taken from the pixels afterwards, by the layout.
//
// Samples that are not listed are not read. The new moments go where the caller can leave them: if one of them is not
// finite (an attribution is NaN or infinite, or a double is so large that its square overflows), the result is false
// and `after` unspecified; `before` is never written. The bits do not depend on the number of threads; where the
// instruction set has fused multiply-add, Q is summed with it.
//
// Bytes: each listed attribution is read once, and the three doubles per pixel of each class that the batch holds are
// read and written once. With K such classes in B float32 samples that is 1 + 12 K / B times the attributions' bytes.
#pragma once

#include <cstdint>

#include "pixfold/views.hpp"

namespace pixfold {

// The samples of one class.
struct ClassSamples {
    const std::int64_t* samples;  // [n_samples] positions in the batch
    std::int64_t n_samples;       // at least 1
    std::int64_t seen;            // samples before this batch
    const double* before;         // mean, m2 and mean_abs: row-major (3, n_pixels); not read where seen is 0
    double* after;                // the same, written; overlaps nothing
};

struct AggregateArguments {
    const void* attributions;  // row-major (n_samples, n_channels, n_pixels): f32, f64, f16 or bf16
    DType dtype;
    std::int64_t n_channels;  // summed
    std::int64_t n_pixels;
    const ClassSamples* classes;  // no class twice
    std::int64_t n_classes;
};

// Whether all new moments are finite.
using Aggregate = bool (*)(const AggregateArguments&, int threads);

}  // namespace pixfold
