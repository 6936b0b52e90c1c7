// The normaliser's parameters as a call hands them over.
#pragma once

#include "call.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::cuda::bindings {

// Without `parameters`, values are moved and converted.
inline NormalizeParameters with_row_scale(const NormalizeParameters* parameters, Address row_scale) {
    NormalizeParameters p = parameters != nullptr ? *parameters : NormalizeParameters{};
    p.row_scale = at<double>(row_scale);
    return p;
}

}  // namespace pixfold::cuda::bindings
