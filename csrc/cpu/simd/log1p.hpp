// log(1 + x) of one value or of a run of them, the same bits either way, by the methods of csrc/math/log1p.hpp.
#pragma once

#include "lanes.hpp"
#include "math/log1p.hpp"

namespace pixfold::PIXFOLD_ISA {

#if defined(__FMA__)

struct LaneMachine {
    template <class F>
    static F fused(F a, F b, F c) {
        return PIXFOLD_ISA::fused(a, b, c);
    }
    static auto reciprocal(auto index) { return entry_of(PIXFOLD_ISA::reciprocal, index); }
    static auto minus_log(auto index) { return entry_of(PIXFOLD_ISA::minus_log, index); }
};

template <class F>
inline F log1p_regular(F x)
    requires(sizeof(typename LaneTraits<F>::Scalar) == 4)
{
    return log1p_by_table(x, LaneMachine{});
}

#else

template <class F>
inline F log1p_regular(F x)
    requires(sizeof(typename LaneTraits<F>::Scalar) == 4)
{
    return log1p_by_division_float(x);
}

#endif

template <class F>
inline F log1p_regular(F x)
    requires(sizeof(typename LaneTraits<F>::Scalar) == 8)
{
    return log1p_by_division_double(x);
}

inline double log1p_irregular(double x) { return std::log1p(x); }

inline float log1p(float x) {
    return std::bit_cast<std::uint32_t>(x) < regular_limit32 ? log1p_regular(x) : log1p_irregular(x);
}
inline double log1p(double x) {
    return std::bit_cast<std::uint64_t>(x) < regular_limit64 ? log1p_regular(x) : log1p_irregular(x);
}

// y[k] = log1p(x[k]) for k in [0, n); y may be x. Returns whether all arguments were regular: none negative, NaN or
// infinite.
template <class C>
inline bool log1p_tile(const C* x, C* y, std::int64_t n) {
    using F = Register<C>;
    constexpr std::int64_t width = lanes_of<F>;
    constexpr auto limit = [] {
        if constexpr (sizeof(C) == 4) {
            return regular_limit32;
        } else {
            return regular_limit64;
        }
    }();
    bool regular = true;
    std::int64_t k = 0;
    for (; k + width <= n; k += width) {
        const F argument = load_lanes<F>(x + k);
        if (!any_reaches(argument, limit)) [[likely]] {
            store_lanes<F>(y + k, log1p_regular(argument));
        } else {
            regular = false;
            C arguments[width];
            store_lanes<F>(arguments, argument);
            store_lanes<F>(y + k, log1p_regular(argument));
            for (std::int64_t lane = 0; lane < width; ++lane) {
                if (std::bit_cast<typename LaneTraits<C>::Bits>(arguments[lane]) >= limit) {
                    y[k + lane] = log1p_irregular(arguments[lane]);
                }
            }
        }
    }
    for (; k < n; ++k) {
        regular = regular && std::bit_cast<typename LaneTraits<C>::Bits>(x[k]) < limit;
        y[k] = log1p(x[k]);
    }
    return regular;
}

}  // namespace pixfold::PIXFOLD_ISA
