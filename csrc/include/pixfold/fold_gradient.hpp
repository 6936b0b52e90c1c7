// fold_gradient: from the gradient of a number with respect to the images to its gradient with respect to the samples
// that were folded (fold.hpp).
//
// For sample i, slot k with feature j and pixel p that m features share, with a = (x[i, j] + offset[j]) * row_scale[i]:
//     D[i, j] = gradient[i, p] / m * scale[j] * g'(a),  g'(a) = 1 / (1 + a) for log1p, 1 for the identity
// and 0 where x does not move its pixel: a missing value, a negative `a` under clip_below_zero, a scale of 0, a result
// beyond lo or hi (a result that equals a limit still moves). D is 0 for a feature without a pixel. Then
//     out[i, j] = D[i, j]                                                                 without row_scale
//     out[i, j] = D[i, j] * r - (r * r / library_size) * sum over l of D[i, l] * (x[i, l] + offset[l])
// with r = row_scale[i] = library_size / (sum of the present x[i, :]): the second term is how x[i, j] moves every pixel
// of its sample through the sum, and so reaches features without a pixel too; a missing value is in no sum and gets 0.
// All of a sample with r = 0 gets 0. Without a normaliser (`normalise` false) D = gradient / m for every value.
//
// x: f32, f64, f16 or bf16. Gradient: row-major (n_samples, n_pixels), f32, f16 or bf16, computed with in the type that
// x is computed in. Output: row-major (n_samples, n_features) of x's dtype, wholly written, rounded once.
// `fill` is not read. What is clipped is decided by the bits that fold computes with the same instruction set.
// Deterministic: the bits do not depend on the number of threads. The sum over a sample's slots is taken in double, run
// after run of sum_run slots: slot k of a run adds to sum k % sum_lanes, these are added up in order, and so are runs.
#pragma once

#include <cstdint>

#include "pixfold/fold.hpp"
#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

constexpr std::int64_t sum_run = 1024;
constexpr std::int64_t sum_lanes = 16;  // many additions at a time

struct ImageGradient {
    const void* data;  // (n_samples, n_pixels)
    DType dtype;
};

// library_size is read where parameters.row_scale is not null.
PIXFOLD_KERNEL(fold_gradient, void(const DenseView&, const SlotView&, const NormalizeParameters&, double library_size,
                                   ImageGradient, void* out, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// fold_gradient on a CUDA device: the contract is pixfold/fold_gradient.hpp's, and all pointers, those inside the
// parameters too, are the device's. Calls are queued on the stream and return at once. Elements, and rows of a strided
// matrix, must be aligned to the element's size. The bits are the CPU's as far as those of fold are (fold.hpp): what is
// clipped follows from them, the derivatives and the sums of samples are the same.

struct FoldGradientArguments {
    DenseView x;
    Slots slots;
    const std::int32_t* slot_of_feature;   // [n_features], -1: none; null: feature j has slot j
    const std::int32_t* pixel_of_feature;  // [n_features], -1: none; null: feature j is at pixel j
    NormalizeParameters parameters;
    double library_size;
    ImageGradient gradient;
    void* out;
    double* workspace;       // [fold_gradient_workspace(...)] where parameters.row_scale is not null
    Workspace scratch = {};  // of fold_gradient_scratch() bytes, or none: what makes some of them faster
};

// Doubles: each run of slots of each sample has a sum, each sample what its values share.
constexpr std::int64_t fold_gradient_workspace(std::int64_t n_samples, std::int64_t n_slots) {
    return ((n_slots + sum_run - 1) / sum_run + 1) * n_samples;
}

std::int64_t fold_gradient_scratch(const FoldGradientArguments&);  // bytes; 0: none is of use
void fold_gradient(const FoldGradientArguments&, void* stream);

// The same with a row scale of library_size over the sum of each sample (row_sums_dense), and 0 where that is not
// positive: the bits of the two one after the other, from one reading of samples and gradient. False, and nothing is
// queued, where that would not be faster, or is not to be had. parameters.row_scale, workspace and scratch are not
// read.
bool fold_gradient_library(const FoldGradientArguments&, void* stream);

}  // namespace pixfold::cuda
