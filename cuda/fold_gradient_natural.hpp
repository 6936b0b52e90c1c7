// fold_gradient of floats whose features keep their order, without a row scale.
#pragma once

#include "pixfold/fold_gradient.hpp"

namespace pixfold::cuda {

bool is_natural_gradient(const FoldGradientArguments& a);

// The contract is fold_gradient's (pixfold/fold_gradient.hpp).
void fold_gradient_natural(const FoldGradientArguments& a, void* stream);

}  // namespace pixfold::cuda
