// unfold on a CUDA device: the contract is pixfold/unfold.hpp's, all pointers are the device's.
#pragma once

#include "pixfold/unfold.hpp"

namespace pixfold::cuda {

// Queued on the stream; returns at once. Elements must be aligned to their size. Throws Error.
void unfold(const UnfoldArguments&, void* stream);

}  // namespace pixfold::cuda
