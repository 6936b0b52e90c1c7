// fold under an arrangement of floats whose rows are too long for shared memory.
#pragma once

#include <cstdint>

#include "pixfold/fold.hpp"

namespace pixfold::cuda {

// Whether fold_interleaved() can take it: floats without gaps, no pixel with two features, no feature without a pixel
// that a normaliser would count values of, rows by number only where they all begin alike.
bool fits_interleaved(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters,
                      const std::int64_t* sample_offset);

// Samples of fewer bytes are gathered from the caches. The simulator need not move as many.
#ifdef PIXFOLD_SIMT_SHIM
constexpr std::int64_t least_interleaved_bytes = std::int64_t{1} << 20;
#else
constexpr std::int64_t least_interleaved_bytes = std::int64_t{32} << 20;
#endif

// And whether it is the fast way: long rows, and enough of them.
bool is_interleaved(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                    const std::int64_t* sample_offset);

// Bytes of scratch memory that it works fast in, and the least that it works in.
std::int64_t interleaved_workspace(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters,
                                   FoldOutput out);
std::int64_t least_interleaved_workspace(const DenseView& x, const NormalizeParameters& parameters);

// The contract is fold_dense's (pixfold/fold.hpp). Without a normaliser slots.feature may be -1, for a pixel that is 0.
void fold_interleaved(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                      unsigned long long* counts, void* stream, const std::int64_t* sample_offset, const FoldAid& aid);

}  // namespace pixfold::cuda
