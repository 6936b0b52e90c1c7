// fold_gradient on a CUDA device: the contract is pixfold/fold_gradient.hpp's, and all pointers, those inside the
// parameters too, are the device's. Calls are queued on the stream and return at once. Elements, and rows of a strided
// matrix, must be aligned to the element's size. The bits are the CPU's as far as those of fold are (fold.hpp): what is
// clipped follows from them, the derivatives and the sums of samples are the same.
#pragma once

#include "pixfold/fold_gradient.hpp"
#include "slots.hpp"

namespace pixfold::cuda {

struct FoldGradientArguments {
    DenseView x;
    Slots slots;
    const std::int32_t* slot_of_feature;   // [n_features], -1: none; null: feature j has slot j
    const std::int32_t* pixel_of_feature;  // [n_features], -1: none; null: feature j is at pixel j
    NormalizeParameters parameters;
    double library_size;
    ImageGradient gradient;
    void* out;
    double* workspace;  // [fold_gradient_workspace(...)] where parameters.row_scale is not null
};

// Doubles: each run of slots of each sample has a sum, each sample what its values share.
constexpr std::int64_t fold_gradient_workspace(std::int64_t n_samples, std::int64_t n_slots) {
    return ((n_slots + sum_run - 1) / sum_run + 1) * n_samples;
}

void fold_gradient(const FoldGradientArguments&, void* stream);

}  // namespace pixfold::cuda
