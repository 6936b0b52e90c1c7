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

#include "pixfold/kernel.hpp"
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
    const double* row_scale;     // [n_samples], or null for 1
    bool shift_is_zero = false;  // every shift is 0: a kernel need not read it
};

struct FoldCounts {
    std::int64_t missing = 0;
    std::int64_t negative = 0;
};

struct FoldOutput {
    void* data;  // (n_samples, n_pixels)
    DType dtype;
};

PIXFOLD_KERNEL(fold_dense,
               FoldCounts(const DenseView&, const SlotView&, const NormalizeParameters&, FoldOutput, int threads));

// slot_of_feature: [n_features], -1 where a feature has no pixel. Zeros that are not stored are never visited, and so
// are in neither count: each row starts as the image of an all-zero sample. offset with row_scale is not defined here
// (it would make that image differ from sample to sample); the caller refuses it.
PIXFOLD_KERNEL(fold_csr, FoldCounts(const CsrView&, const SlotView&, const std::int32_t* slot_of_feature,
                                    const NormalizeParameters&, FoldOutput, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// fold on a CUDA device: the contract is pixfold/fold.hpp's, and all pointers, those inside the parameters too, are the
// device's. What differs:
//   - calls are queued on the stream and return at once; missing and negative values are added to counts[0] and
//     counts[1], for whoever reads them later; `counts` may be null
//   - elements, and rows of a strided matrix, must be aligned to the element's size
//   - floats have the bits that the CPU's kernels give on machines with AVX2; so have doubles but for logarithms of
//     negative numbers, where CUDA's own log1p is within 1 ulp
//   - samples need not be evenly spaced: `sample_offset`, unless it is null, has the bytes from the view's data to each
//     of n_samples samples, in any order, repeated or not; multiples of the view's sample_stride
// Samples that lie side by side (a sample_stride of one element, as in groups of a few samples each) are read together
// where they are asked for in that order.
// Images are (n_samples, n_pixels). Channels-last images are those of another layout: one whose pixels are numbered in
// the order of the output.

// What makes some folds faster, all of it optional; the bits are the same.
struct FoldAid {
    const std::int32_t* slot_of_feature = nullptr;  // [n_features], -1: none; null: feature j has slot j
    Workspace workspace = {};                       // of fold_dense_workspace() bytes
};

// 0 where none is of use.
std::int64_t fold_dense_workspace(const DenseView&, const Slots&, const NormalizeParameters&, FoldOutput,
                                  const std::int64_t* sample_offset = nullptr);
void fold_dense(const DenseView&, const Slots&, const NormalizeParameters&, FoldOutput, unsigned long long* counts,
                void* stream, const std::int64_t* sample_offset = nullptr, const FoldAid& aid = {});

// The same with a row scale of library_size over the sum of each sample (row_sums_dense), and 0 where that is not
// positive: the bits of the two one after the other, from one reading of the samples. False, and nothing is queued,
// where that would not be faster, or is not to be had. parameters.row_scale is not read.
bool fold_dense_library(const DenseView&, const Slots&, const NormalizeParameters&, double library_size, FoldOutput,
                        unsigned long long* counts, void* stream);

// fold of compressed sparse rows on a CUDA device: the contract is that of fold_csr, with what fold_dense says of
// devices.

struct FoldCsrArguments {
    CsrView x;  // n_samples are those that are folded; an index outside the features is counted and skipped
    Slots slots;
    const std::int32_t* slot_of_feature;   // [n_features], -1: none; null: feature j has slot j
    const std::int32_t* pixel_of_feature;  // [n_features], -1: none; null: feature j is at pixel j
    NormalizeParameters parameters;
    FoldOutput out;
    // The image of an all-zero sample, [n_pixels] elements of out's type, which fold_dense makes; null where it is 0.
    const void* background;
    unsigned long long* counts;            // [3]: missing, negative, indices out of range; or null
    const std::int64_t* sample = nullptr;  // [n_samples] rows of x that are folded, in any order; null: all, in order
};

void fold_csr(const FoldCsrArguments&, void* stream);

}  // namespace pixfold::cuda
