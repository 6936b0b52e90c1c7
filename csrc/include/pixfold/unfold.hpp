// unfold: bring every pixel back to its feature, the inverse of fold's placement.
//
//     out[i, j] = images[i, pixel_of_feature[j]];  0 for a feature without a pixel
// Features that share a pixel all get its value, so fold(unfold(images)) == images. Output has the images' element
// type, row-major (n_samples, n_features). Images: row-major (n_samples, n_pixels).
#pragma once

#include <cstdint>

#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

struct UnfoldArguments {
    const void* images;
    void* out;
    std::int64_t element_size;  // bytes: 1, 2, 4 or 8
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t n_pixels;
    const std::int32_t* pixel_of_feature;  // [n_features], -1 for a feature without a pixel
    bool identity;                         // pixel_of_feature[j] == j
};

PIXFOLD_KERNEL(unfold, void(const UnfoldArguments&, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// unfold on a CUDA device: the contract is pixfold/unfold.hpp's, all pointers are the device's.

// Queued on the stream; returns at once. Elements must be aligned to their size. Throws Error.
std::int64_t unfold_workspace(const UnfoldArguments&);  // bytes; 0: none is of use
void unfold(const UnfoldArguments&, void* stream, const Workspace& workspace = {});

}  // namespace pixfold::cuda
