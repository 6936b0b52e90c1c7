// Looking for a feature in a sparse row. Also compiled for CUDA devices.
#pragma once

#include <cstdint>

#include "isa.hpp"

namespace pixfold::PIXFOLD_ISA {

// The first entry in [start, end) of a row whose index is at least `feature`; `guess` is where it may well be.
template <class I>
constexpr std::int64_t seek(const I* indices, std::int64_t start, std::int64_t end, std::int64_t guess,
                            std::int64_t feature) {
    const auto below = [&](std::int64_t e) { return static_cast<std::int64_t>(indices[e]) < feature; };
    std::int64_t low = start;
    std::int64_t high = end;  // the answer is in [low, high]
    std::int64_t step = 8;
    if (guess < end && below(guess)) {
        low = guess + 1;
        while (high - low > step && below(low + step)) {
            low += step + 1;
            step *= 2;
        }
        high = high - low > step ? low + step : high;
    } else {
        high = guess < end ? guess : end;
        while (high - low > step && !below(high - step)) {
            high -= step;
            step *= 2;
        }
        low = high - low > step ? high - step : low;
    }
    while (low < high) {
        const std::int64_t middle = low + (high - low) / 2;
        if (below(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

}  // namespace pixfold::PIXFOLD_ISA
