// The formula for regular values alone: what the loops of the fast kernels hold, without calls. Whoever meets another
// value (NaN, and what has no regular logarithm) folds it again afterwards with normalise_one().
#pragma once

#include <bit>
#include <cstdint>

#include "fours.hpp"
#include "math/elements.hpp"
#include "normalise.hpp"

namespace pixfold::cuda {

// What the formula does, as far as a kernel is compiled for it. `general` decides at run time and has the rest:
// offsets, row scales, a floor without a logarithm. Under `row` a logarithm follows a row scale; shift and scale are 0
// and 1 where there are none.
enum class Steps { copy, clip, log, scale, log_scale, row, general };

template <Steps steps>
constexpr bool has_log = steps == Steps::log || steps == Steps::log_scale || steps == Steps::row;
template <Steps steps>
constexpr bool has_scale = steps == Steps::scale || steps == Steps::log_scale || steps == Steps::row;

// A value on its way to g: with its offset, and then with its row scale.
struct Lifted {
    float value;
    float argument;
};

template <Steps steps>
__device__ Lifted lift(const Formula<float>& f, float x, float offset, float row_scale) {
    if constexpr (steps == Steps::general) {
        const float lifted = f.offset != nullptr ? x + offset : x;
        return {lifted, lifted * row_scale};
    } else if constexpr (steps == Steps::row) {
        return {x, x * row_scale};
    } else {
        return {x, x};
    }
}

template <Steps steps>
__device__ bool takes_log(const Formula<float>& f) {
    return has_log<steps> || (steps == Steps::general && f.log);
}

// Whether the loop cannot fold a value. Under a logarithm that is whatever is counted, too; without one, negative
// numbers are regular, and the loop counts them.
template <Steps steps>
__device__ bool is_irregular(const Formula<float>& f, float x, const Lifted& lifted) {
    if (!takes_log<steps>(f)) {
        return x != x;
    }
    const bool odd = std::bit_cast<std::uint32_t>(lifted.argument) >= regular_limit32;
    return steps == Steps::general || steps == Steps::row ? odd || lifted.value < 0.0f : odd;  // a negative row scale
}

template <Steps steps>
__device__ float regular(const Formula<float>& f, const LogTable& table, float argument, float shift, float scale) {
    float y = argument;
    if (takes_log<steps>(f)) {
        y = log1p_by_table(argument, SharedTable{table});
    } else if constexpr (steps == Steps::general) {
        y = at_least(f.floor(), argument);
    }
    if (has_scale<steps> || (steps == Steps::general && f.scale != nullptr)) {
        y = scaled(y, shift, scale);
    }
    return at_most(f.hi, at_least(f.lo, y));
}

// Any value, as normalise_one() folds it: the same operations without a call, which would make a kernel keep what it
// has in registers on the stack. For loops that are not unrolled.
__device__ inline float any_value(const Formula<float>& f, const LogTable& table, std::int32_t slot, float row_scale,
                                  float x, Met& met) {
    const SlotParameters<float> p = parameters_of(f, slot);
    const float lifted = f.offset != nullptr ? x + p.offset : x;
    met.missing += x != x ? 1u : 0u;
    met.negative += lifted < 0.0f ? 1u : 0u;
    float y = at_least(f.floor(), lifted * row_scale);
    if (f.log) {
        const bool is_regular = std::bit_cast<std::uint32_t>(y) < regular_limit32;
        y = is_regular ? log1p_by_table(y, SharedTable{table}) : log1p_irregular(y);
    }
    y = f.scale != nullptr ? scaled(y, p.shift, p.scale) : y;
    return x != x ? f.fill[slot] : at_most(f.hi, at_least(f.lo, y));
}

}  // namespace pixfold::cuda
