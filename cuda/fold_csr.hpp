// fold of compressed sparse rows on a CUDA device: the contract is pixfold/fold.hpp's, with what cuda/fold.hpp says of
// devices.
#pragma once

#include "pixfold/fold.hpp"
#include "slots.hpp"

namespace pixfold::cuda {

struct FoldCsrArguments {
    CsrView x;  // n_samples are those that are folded; an index outside the features is counted and skipped
    Slots slots;
    const std::int32_t* slot_of_feature;   // [n_features], -1: none; null: feature j has slot j
    const std::int32_t* pixel_of_feature;  // [n_features], -1: none; null: feature j is at pixel j
    NormalizeParameters parameters;
    FoldOutput out;
    const void* background;  // the image of an all-zero sample, [n_pixels] elements of out's type; fold_dense makes it
    unsigned long long* counts;            // [3]: missing, negative, indices out of range; or null
    const std::int64_t* sample = nullptr;  // [n_samples] rows of x that are folded, in any order; null: all, in order
};

void fold_csr(const FoldCsrArguments&, void* stream);

}  // namespace pixfold::cuda
