// From a pixel to its slot.
#pragma once

#include "pixfold/views.hpp"
#include "simt.hpp"

namespace pixfold::cuda {

// The slot of a pixel of a layout without shared pixels, -1 for padding and from n_pixels on.
__device__ inline std::int32_t slot_of(const Slots& slots, std::int64_t pixel) {
    if (slots.first_slot == nullptr) {
        return pixel < slots.n_slots ? static_cast<std::int32_t>(pixel) : -1;
    }
    if (pixel >= slots.n_pixels) {
        return -1;
    }
    const std::int32_t first = slots.first_slot[pixel];
    return first < slots.first_slot[pixel + 1] ? first : -1;
}

}  // namespace pixfold::cuda
