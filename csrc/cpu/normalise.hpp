// The normaliser's formula (fold.hpp) over a tile of values that lies in L1: a few loops, each over the whole tile.
#pragma once

#include <type_traits>

#include "math/formula.hpp"
#include "simd/log1p.hpp"

namespace pixfold::PIXFOLD_ISA {

// The argument of g: (x + offset) * row_scale, raised to 0 where clip_below_zero says so.
template <class C>
FoldCounts lift_tile(const Formula<C>& f, std::int64_t first, std::int64_t n, C row_scale, const C* x, C* y) {
    std::int32_t missing = 0;
    std::int32_t negative = 0;
    const C floor = f.floor();
    if (f.offset == nullptr) {
#pragma omp simd reduction(+ : missing, negative)
        for (std::int64_t k = 0; k < n; ++k) {
            const C argument = x[k] * row_scale;
            missing += x[k] != x[k] ? 1 : 0;
            negative += x[k] < C{0} ? 1 : 0;
            y[k] = argument < floor ? floor : argument;
        }
    } else {
        const C* offset = f.offset + first;
#pragma omp simd reduction(+ : missing, negative)
        for (std::int64_t k = 0; k < n; ++k) {
            const C lifted = x[k] + offset[k];
            const C argument = lifted * row_scale;
            missing += x[k] != x[k] ? 1 : 0;
            negative += lifted < C{0} ? 1 : 0;
            y[k] = argument < floor ? floor : argument;
        }
    }
    return {missing, negative};
}

template <class C>
FoldCounts count_tile(std::int64_t n, const C* x) {
    std::int32_t missing = 0;
    std::int32_t negative = 0;
#pragma omp simd reduction(+ : missing, negative)
    for (std::int64_t k = 0; k < n; ++k) {
        missing += x[k] != x[k] ? 1 : 0;
        negative += x[k] < C{0} ? 1 : 0;
    }
    return {missing, negative};
}

// F is one value or a register of them.
template <class F>
inline F finish(F g, F shift, F scale, F lo, F hi) {
    return at_most(hi, at_least(lo, scaled(g, shift, scale)));
}

// y = clip((g - shift) * scale), and fill where x is NaN if `missing` says that there are any. With `stream`, y is
// aligned to a cache line and n a multiple of one.
template <bool scales, bool missing, bool stream, class C>
void finish_tile(const Formula<C>& f, std::int64_t first, std::int64_t n, const C* x, const C* g, C* y) {
    using F = Register<C>;
    const F lo = F{} + f.lo;
    const F hi = F{} + f.hi;
    const C* shift = scales ? f.shift + first : nullptr;
    const C* scale = scales ? f.scale + first : nullptr;
    const C* fill = f.fill + first;
    std::int64_t k = 0;
    for (; k + lanes_of<F> <= n; k += lanes_of<F>) {
        F value = load_lanes<F>(g + k);
        if constexpr (scales) {
            value = finish(value, load_lanes<F>(shift + k), load_lanes<F>(scale + k), lo, hi);
        } else {
            value = at_most(hi, at_least(lo, value));
        }
        if constexpr (missing) {
            const F raw = load_lanes<F>(x + k);
            value = raw != raw ? load_lanes<F>(fill + k) : value;
        }
        if constexpr (stream) {
            stream_lanes<F>(y + k, value);
        } else {
            store_lanes<F>(y + k, value);
        }
    }
    for (; k < n; ++k) {
        const C value = scales ? finish(g[k], shift[k], scale[k], f.lo, f.hi) : at_most(f.hi, at_least(f.lo, g[k]));
        y[k] = missing && x[k] != x[k] ? fill[k] : value;
    }
}

// Slots [first, first + n) of one sample from x to y. `work` has room for n values; it may be y, and x where nothing
// is missing any more. Counts as fold does.
template <class C>
FoldCounts normalise_tile(const Formula<C>& f, std::int64_t first, std::int64_t n, C row_scale, const C* x, C* work,
                          C* y, bool stream) {
    FoldCounts counts;
    const C* g = x;
    const bool lifts = f.offset != nullptr || row_scale != C{1} || f.clip_below_zero;
    if (lifts) {
        counts = lift_tile(f, first, n, row_scale, x, work);
        g = work;
    }
    if (f.log) {
        const bool regular = log1p_tile(g, work, n);
        if (!lifts && !regular) {
            counts = count_tile(n, x);
        }
        g = work;
    } else if (!lifts) {
        counts = count_tile(n, x);
    }
    const auto finish_as = [&](auto scales, auto missing) {
        stream ? finish_tile<scales.value, missing.value, true>(f, first, n, x, g, y)
               : finish_tile<scales.value, missing.value, false>(f, first, n, x, g, y);
    };
    if (f.scale != nullptr) {
        counts.missing != 0 ? finish_as(std::true_type{}, std::true_type{})
                            : finish_as(std::true_type{}, std::false_type{});
    } else {
        counts.missing != 0 ? finish_as(std::false_type{}, std::true_type{})
                            : finish_as(std::false_type{}, std::false_type{});
    }
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
