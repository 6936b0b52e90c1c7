// fold_gradient of floats under an arrangement whose images, of any type, fit in shared memory: the gradient is moved
// to the order of the features, some rows at a time, which stay in L2, and the rest is the natural order's.
#pragma once

#include "pixfold/fold_gradient.hpp"

namespace pixfold::cuda {

// Whether fold_gradient_arranged() can take it: floats without gaps, each feature on a pixel of its own, a normaliser
// without a row scale.
bool fits_arranged_gradient(const FoldGradientArguments& a);

// And whether it is the fast way: enough long samples for the whole card.
bool is_arranged_gradient(const FoldGradientArguments& a);

// Bytes of scratch memory that it works fast in; it works in less, down to those of `n_samples` 1.
std::int64_t arranged_gradient_scratch(const FoldGradientArguments& a, std::int64_t n_samples);

// The contract is fold_gradient's, with a.scratch.
void fold_gradient_arranged(const FoldGradientArguments& a, void* stream);

}  // namespace pixfold::cuda
