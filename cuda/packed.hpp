// fold of packed genotypes on a CUDA device: the contract is pixfold/packed.hpp's, all pointers are the device's.
#pragma once

#include "pixfold/fold.hpp"
#include "pixfold/packed.hpp"
#include "slots.hpp"

namespace pixfold::cuda {

struct FoldPackedArguments {
    PackedView x;                          // n_samples are those that are folded
    Slots slots;                           // one feature per pixel
    const void* planes;                    // (4, n_pixels) elements: what each code becomes at each pixel; 0 at padding
    std::int64_t element;                  // bytes: 1, 2 or 4
    void* out;                             // (n_samples, n_pixels)
    std::uint32_t* scratch;                // [packed_scratch(x)] where slots.feature is not null
    const std::int64_t* sample = nullptr;  // [n_samples] rows of x that are folded, in any order; null: all, in order
};

// How many samples' codes of one feature a word of the scratch memory holds.
constexpr std::int64_t word_samples = 16;

// The codes again, as many bits as they came in, rounded up to whole words.
constexpr std::int64_t packed_scratch(const PackedView& x) {
    return (x.n_samples + word_samples - 1) / word_samples * x.row_bytes() * 4;
}

void fold_packed(const FoldPackedArguments&, void* stream);

// Of layouts with several features to a pixel: the mean of their values, as fold_dense takes it.
struct FoldPackedMeans {
    PackedView x;            // as above
    Slots slots;             // first_slot is not null
    const float* values;     // (4, n_slots): what each code becomes at each slot
    FoldOutput out;          // (n_samples, n_pixels)
    std::uint32_t* scratch;  // [packed_scratch(x)]
    const std::int64_t* sample = nullptr;
};

void fold_packed_means(const FoldPackedMeans&, void* stream);

}  // namespace pixfold::cuda
