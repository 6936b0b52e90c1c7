// fold_gradient of float samples under a library size, from one reading of the samples and of the gradient.
#pragma once

#include "pixfold/fold_gradient.hpp"

namespace pixfold::cuda {

// Whether fold_gradient_of_library() can take it: floats without gaps whose rows fit in shared memory twice, each
// feature on a pixel of its own, a normaliser.
bool fits_library_gradient(const FoldGradientArguments& a);

// And whether it is the fast way: enough long samples for the whole card.
bool is_library_gradient(const FoldGradientArguments& a);

// The contract is fold_gradient_library's (pixfold/fold_gradient.hpp), where fits_library_gradient().
void fold_gradient_of_library(const FoldGradientArguments& a, void* stream);

}  // namespace pixfold::cuda
