// A layout on the device, as the kernels walk it: from pixel to slot, so that they write every pixel once, in order.
#pragma once

#include <cstdint>

namespace pixfold::cuda {

struct Slots {
    const std::int32_t* feature;     // [n_slots], no feature twice; null: slot k holds feature k
    const std::int32_t* first_slot;  // [n_pixels + 1]: pixel p has slots first_slot[p] to first_slot[p + 1] - 1;
                                     // null: pixel p has slot p, and none from n_slots on
    std::int64_t n_slots;
    std::int64_t n_pixels;
    bool one_to_one;  // no pixel has two slots
};

}  // namespace pixfold::cuda
