// fold on a CUDA device: the contract is pixfold/fold.hpp's, and all pointers, those inside the parameters too, are the
// device's. What differs:
//   - calls are queued on the stream and return at once; missing and negative values are added to counts[0] and
//     counts[1], for whoever reads them later; `counts` may be null
//   - elements, and rows of a strided matrix, must be aligned to the element's size
//   - floats have the bits that the CPU's kernels give on machines with AVX2; so have doubles but for logarithms of
//     negative numbers, where CUDA's own log1p is within 1 ulp
//   - samples need not be evenly spaced: `sample_offset`, unless it is null, has the bytes from the view's data to each
//     of n_samples samples, in any order, repeated or not; multiples of the view's sample_stride
// Samples that lie side by side (a sample_stride of one element, as in groups of a few samples each) are read together
// where they are asked for in that order.
// Images are (n_samples, n_pixels). Channels-last images are those of another layout: one whose pixels are numbered in
// the order of the output.
#pragma once

#include "pixfold/fold.hpp"
#include "slots.hpp"

namespace pixfold::cuda {

void fold_dense(const DenseView&, const Slots&, const NormalizeParameters&, FoldOutput, unsigned long long* counts,
                void* stream, const std::int64_t* sample_offset = nullptr);

}  // namespace pixfold::cuda
