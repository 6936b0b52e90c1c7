// Numbers that order like the values that rank compares. What is constexpr is also compiled for CUDA devices.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "pixfold/rank.hpp"

namespace pixfold {

// Increases with the value, one for one; the same for -0.0 and 0.0. Trailing zeros of the magnitude stay zeros.
constexpr std::int64_t order_of(double value) {
    const std::int64_t bits = std::bit_cast<std::int64_t>(value);
    const std::int64_t magnitude = bits & std::numeric_limits<std::int64_t>::max();
    return bits < 0 ? -magnitude : magnitude;
}

// How far s is below `most`. Modulo 2^64, where it fits; as signed numbers it would not.
constexpr std::uint64_t below(std::int64_t most, std::int64_t s) {
    return static_cast<std::uint64_t>(most) - static_cast<std::uint64_t>(s);
}

// The bits [first, end) of how far values are below the largest: outside them all have zeros.
struct VaryingBits {
    int first;
    int end;

    explicit VaryingBits(const Survey& s)
        : first(s.varying == 0 ? 0 : std::countr_zero(s.varying)),
          end(static_cast<int>(std::bit_width(below(s.most, s.least)))) {}
};

}  // namespace pixfold
