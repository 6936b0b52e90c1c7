// fold: normalise samples and place every feature at its pixel.
//
// For sample i, feature j with pixel p:
//     y[i, j] = clip((g((x[i, j] + offset[j]) * row_scale[i]) - shift[j]) * scale[j], lo, hi),  g = log1p or identity
//     out[i, p] = y[i, j];  several features on one pixel: their mean;  no feature: 0
// A NaN in x gives fill[j] in place of y[i, j]. clip_below_zero replaces a negative (x + offset) * row_scale by 0
// before the logarithm: values below the training minimum under a per-feature shift.
//
// Output: row-major (n_samples, n_pixels), wholly written, float32, float16 or bfloat16, rounded once.
// Parameters: arrays of float, or of double where computes_in_double(input dtype), in slot order. Without a
// normaliser (`normalise` false) values are converted and moved, NaN included.
// Deterministic: the bits do not depend on the number of threads, nor on whether samples come dense, strided or sparse.
// Instruction sets differ in log1p alone: AVX2 and AVX-512 give the same bits, the baseline is within 4 ulp of them.
// A feature with scale 0 gives 0 (clipped), infinite values included.
// Returns how many NaN and how many negative x + offset were met; the caller decides what they mean.
#pragma once

#include <cstdint>

#include "pixfold/views.hpp"

namespace pixfold {

struct NormalizeParameters {
    bool normalise;
    bool log;
    bool clip_below_zero;
    const void* offset;  // [n_slots], or null for 0
    const void* shift;   // [n_slots], or null for 0: with a scale of null only
    const void* scale;   // [n_slots], or null for 1
    const void* fill;    // [n_slots]
    double lo;
    double hi;
    const double* row_scale;  // [n_samples], or null for 1
};

struct FoldCounts {
    std::int64_t missing = 0;
    std::int64_t negative = 0;
};

struct FoldOutput {
    void* data;  // (n_samples, n_pixels)
    DType dtype;
};

using FoldDense = FoldCounts (*)(const DenseView&, const SlotView&, const NormalizeParameters&, FoldOutput,
                                 int threads);

// slot_of_feature: [n_features], -1 where a feature has no pixel. Zeros that are not stored are never visited, and so
// are in neither count: each row starts as the image of an all-zero sample. offset with row_scale is not defined here
// (it would make that image differ from sample to sample); the caller refuses it.
using FoldCsr = FoldCounts (*)(const CsrView&, const SlotView&, const std::int32_t* slot_of_feature,
                               const NormalizeParameters&, FoldOutput, int threads);

}  // namespace pixfold
