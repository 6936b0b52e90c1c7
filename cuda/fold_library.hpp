// fold of float samples under a library size, their sums and their images from one reading.
#pragma once

#include <cstdint>

#include "pixfold/fold.hpp"

namespace pixfold::cuda {

// Whether fold_library() can take it: floats without gaps whose rows fit in shared memory twice, at most one feature to
// a pixel and no gaps between those that have one, a logarithm, no offsets.
bool fits_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters);

// And whether it is the fast way: enough long samples for the whole card.
bool is_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters);

// The contract is fold_dense's (pixfold/fold.hpp) with a row scale of library_size over row_sums_dense() of each
// sample, and 0 for a sum that is not positive: the same bits.
void fold_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, double library_size,
                  FoldOutput out, unsigned long long* counts, void* stream);

}  // namespace pixfold::cuda
