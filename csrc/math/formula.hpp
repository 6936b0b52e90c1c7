// The normaliser's formula (fold.hpp) as kernels of every kind hold it.
#pragma once

#include <cmath>

#include "isa.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::PIXFOLD_ISA {

// The parameters of NormalizeParameters, typed.
template <class C>
struct Formula {
    constexpr explicit Formula(const NormalizeParameters& p)
        : offset(static_cast<const C*>(p.offset)),
          shift(static_cast<const C*>(p.shift)),
          scale(static_cast<const C*>(p.scale)),
          fill(static_cast<const C*>(p.fill)),
          lo(static_cast<C>(p.lo)),
          hi(static_cast<C>(p.hi)),
          log(p.log),
          clip_below_zero(p.clip_below_zero) {}

    // What the argument of g is raised to; nothing is below -inf.
    constexpr C floor() const { return clip_below_zero ? C{} : -static_cast<C>(HUGE_VAL); }
    // Whether results can be beyond a limit.
    constexpr bool clips() const { return lo > -static_cast<C>(HUGE_VAL) || hi < static_cast<C>(HUGE_VAL); }

    const C* offset;
    const C* shift;
    const C* scale;
    const C* fill;
    C lo;
    C hi;
    bool log;
    bool clip_below_zero;
};

// A scale of 0 gives 0 even for an infinite g.
template <class F>
constexpr F scaled(F g, F shift, F scale) {
    return scale == F{} ? F{} : (g - shift) * scale;
}

// For the gradient (fold_gradient.hpp), with the argument of g before it is raised to `floor`.

// Whether x moves nothing: also where its derivative would not be finite, and 0 times that NaN.
template <class F>
constexpr bool is_still(F x, F argument, F floor) {
    return x != x || argument < floor;
}

template <class F>
constexpr F through_scale(F derivative, F scale) {
    return scale == F{} ? F{} : derivative * scale;
}

template <class F>
constexpr F through_log1p(F derivative, F argument) {
    return derivative / (F{1} + argument);
}

template <class F>
constexpr F unless_clipped(F derivative, F y, F lo, F hi) {
    return y < lo || y > hi ? F{} : derivative;
}

// Of one value in the sum over its sample: a value that does not move its pixel adds nothing, infinite or not.
template <class F>
constexpr double moved_through_sum(F derivative, F lifted) {
    const double product = static_cast<double>(derivative) * static_cast<double>(lifted);
    return derivative == F{} ? 0.0 : product;
}

// The factor of that sum, in double.
constexpr double common_of(double row_scale, double library_size, double sum) {
    return row_scale * (row_scale / library_size) * sum;
}

// Of a present value of a sample with a row scale.
template <class F>
constexpr F with_common(F x, F derivative, F row_scale, F common) {
    return x != x ? F{} : derivative * row_scale - common;
}

}  // namespace pixfold::PIXFOLD_ISA
