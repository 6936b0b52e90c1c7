// fold of float samples whose features keep their order: the layout that data are in most often, and the one that
// memory alone should bound.
#pragma once

#include <cstdint>

#include "pixfold/fold.hpp"

namespace pixfold::cuda {

// Whether fold_natural() can take it: floats without gaps, feature j at pixel j, and samples by number only where they
// all begin alike.
bool is_natural(const DenseView& x, const Slots& slots, const std::int64_t* sample_offset);

// The contract is fold_dense's (pixfold/fold.hpp).
void fold_natural(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                  unsigned long long* counts, void* stream, const std::int64_t* sample_offset);

}  // namespace pixfold::cuda
