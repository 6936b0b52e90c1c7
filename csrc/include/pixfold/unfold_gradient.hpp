// unfold_gradient: the adjoint of unfold (unfold.hpp).
//
//     out[i, p] = sum over the features j of pixel p of gradient[i, j];  0 for a pixel without a feature
// Gradient: row-major (n_samples, n_features), f32, f64, f16 or bf16. Output: row-major (n_samples, n_pixels) of the
// same dtype, wholly written. The features of a pixel are added in double, in their order, and rounded once; a single
// one is moved as it is. Deterministic: the bits do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

struct FeatureGradient {
    const void* data;  // (n_samples, n_features)
    DType dtype;
    std::int64_t n_samples;
    std::int64_t n_features;
};

PIXFOLD_KERNEL(unfold_gradient, void(const FeatureGradient&, const SlotView&, void* out, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// unfold_gradient on a CUDA device: the contract is pixfold/unfold_gradient.hpp's, all pointers are the device's, and
// so are the bits the CPU's. Queued on the stream; returns at once. Elements must be aligned to their size. Throws
// Error.

std::int64_t unfold_gradient_workspace(const FeatureGradient&, const Slots&, void* out);  // bytes; 0: none is of use
void unfold_gradient(const FeatureGradient&, const Slots&, void* out, void* stream, const Workspace& workspace = {});

}  // namespace pixfold::cuda
