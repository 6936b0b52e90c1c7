// fold on a CUDA device: the contract is pixfold/fold.hpp's, and all pointers, those inside the parameters too, are the
// device's. What differs:
//   - calls are queued on the stream and return at once; missing and negative values are added to counts[0] and
//     counts[1], for whoever reads them later; `counts` may be null
//   - elements, and rows of a strided matrix, must be aligned to the element's size
//   - floats have the bits that the CPU's kernels give on machines with AVX2; so have doubles but for logarithms of
//     negative numbers, where CUDA's own log1p is within 1 ulp
// Images are (n_samples, n_pixels). Channels-last images are those of another layout: one whose pixels are numbered in
// the order of the output.
#pragma once

#include "pixfold/fold.hpp"
#include "slots.hpp"

namespace pixfold::cuda {

void fold_dense(const DenseView&, const Slots&, const NormalizeParameters&, FoldOutput, unsigned long long* counts,
                void* stream);

}  // namespace pixfold::cuda
