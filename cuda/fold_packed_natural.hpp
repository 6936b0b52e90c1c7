// fold of packed genotypes whose order is that of the pixels, to two-byte elements.
#pragma once

#include "pixfold/packed.hpp"

namespace pixfold::cuda {

// Whether fold_packed_natural() can take it: two-byte elements, feature j at pixel j, rows of genotypes at even
// addresses, and images and planes whose rows are whole 16 bytes.
bool is_packed_natural(const FoldPackedArguments&);

void fold_packed_natural(const FoldPackedArguments&, void* stream);

}  // namespace pixfold::cuda
