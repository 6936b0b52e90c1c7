// The normaliser's formula (fold.hpp) as kernels of every kind hold it.
#pragma once

#include "pixfold/fold.hpp"
#include "pixfold/isa.hpp"

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

}  // namespace pixfold::PIXFOLD_ISA
