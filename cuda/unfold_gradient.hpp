// unfold_gradient on a CUDA device: the contract is pixfold/unfold_gradient.hpp's, all pointers are the device's, and
// so are the bits the CPU's. Queued on the stream; returns at once. Elements must be aligned to their size. Throws
// Error.
#pragma once

#include "pixfold/unfold_gradient.hpp"
#include "slots.hpp"

namespace pixfold::cuda {

void unfold_gradient(const FeatureGradient&, const Slots&, void* out, void* stream);

}  // namespace pixfold::cuda
