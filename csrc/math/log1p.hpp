// The methods behind log(1 + x): for a register of lanes or one value, on CPUs and CUDA devices, the same bits.
//
// In float at most 2 ulp from the true value for every x > -1 (tests/cpp/test_log1p.cpp), in double at most 2; exact
// at 0, right for subnormals and infinity, NaN for NaN and below -1. Machines with fused multiply-add (AVX2, AVX-512,
// CUDA) share the table for floats and so their bits; the baseline divides. Doubles have one method.
//
// Regular arguments are those from 0 up to a limit far away (0x1p100f, 0x1p1000), which is a range of their bits: the
// sign bit of a negative number, and the exponent of an infinity or NaN, put it beyond. The others go one by one.
#pragma once

#include <cmath>

#include "lane_traits.hpp"

namespace pixfold::PIXFOLD_ISA {

constexpr std::uint32_t regular_limit32 = 0x71800000u;
constexpr std::uint64_t regular_limit64 = 0x7e70000000000000u;

// ---- By a division: 1 + x = u + lost, and u = 2^k m with m in [sqrt(1/2), sqrt(2)). With f = m - 1 and
// s = f / (2 + f), log(m) = 2 atanh(s) = 2s + 2s^3/3 + 2s^5/5 + ..., |s| < 0.172. What rounding 1 + x lost adds
// lost / u to first order. Every term after the leading k log 2 + f is small against it.

template <class F>
constexpr F log1p_by_division_float(F x) {
    constexpr std::uint32_t one = 0x3f800000u;
    constexpr std::uint32_t root_half = 0x3f3504f3u;
    const F u = 1.0f + x;
    const F lost = (x >= 1.0f ? 1.0f - (u - x) : x - (u - 1.0f)) / u;
    const auto shifted = bits_of(u) + (one - root_half);
    // The exponent as a float, by putting it into the mantissa of 2^23.
    const F k = from_bits<F>((shifted >> 23) | 0x4b000000u) - (0x1p23f + 127.0f);
    const F f = from_bits<F>((shifted & 0x007fffffu) + root_half) - 1.0f;
    const F s = f / (2.0f + f);
    const F z = s * s;
    // Up to s^9: the s^11 term is below 2^-27 of the sum.
    const F tail = z * (0x1.555556p-1f + z * (0x1.99999ap-2f + z * (0x1.24924ap-2f + z * 0x1.c71c72p-3f)));
    const F half_square = 0.5f * f * f;
    // log 2 in two parts: the first has few enough bits for its product with k to be exact.
    return s * (half_square + tail) + (k * 0x1.2fefa2p-17f + lost) - half_square + f + k * 0x1.62e3p-1f;
}

template <class F>
constexpr F log1p_by_division_double(F x) {
    constexpr std::uint64_t one = 0x3ff0000000000000u;
    constexpr std::uint64_t root_half = 0x3fe6a09e667f3bcdu;
    const F u = 1.0 + x;
    const F lost = (x >= 1.0 ? 1.0 - (u - x) : x - (u - 1.0)) / u;
    const auto shifted = bits_of(u) + (one - root_half);
    const F k = from_bits<F>((shifted >> 52) | 0x4330000000000000u) - (0x1p52 + 1023.0);
    const F f = from_bits<F>((shifted & 0x000fffffffffffffu) + root_half) - 1.0;
    const F s = f / (2.0 + f);
    const F z = s * s;
    // Up to s^21: the s^23 term is below 2^-57 of the sum.
    F tail = z * (2.0 / 21.0) + 2.0 / 19.0;
    tail = z * tail + 2.0 / 17.0;
    tail = z * tail + 2.0 / 15.0;
    tail = z * tail + 2.0 / 13.0;
    tail = z * tail + 2.0 / 11.0;
    tail = z * tail + 2.0 / 9.0;
    tail = z * tail + 2.0 / 7.0;
    tail = z * tail + 2.0 / 5.0;
    tail = z * (z * tail + 2.0 / 3.0);
    const F half_square = 0.5 * f * f;
    // log 2 in two parts: the first ends in 21 zeros.
    return s * (half_square + tail) + (k * 0x1.a39ef35793c76p-33 + lost) - half_square + f + k * 0x1.62e42feep-1;
}

// ---- By a table: 1 + x = 2^k m, m in [1, 2), and one of eight r close to 1 / m: with s = r 2^-k and
// t = x s + (s - 1), which is (1 + x) s - 1 rounded once, log1p(x) = k log 2 - log r + log1p(t), -0.008 < t <= 0.126.
// r has few bits, and was searched within 0.006 of the reciprocal of m's first three bits for a -log r that a float
// holds within 0.01 ulp. Where m's first three bits are 0, r is 1, and small x give t = x. log1p(t) = t + t^2 p(t)
// with p of least relative error (Remez, 2^-30.8).
alignas(64) inline constexpr float reciprocal[16] = {
    1.0f, 0x1.c9bp-1f, 0x1.9a8p-1f, 0x1.758p-1f, 0x1.52dp-1f, 0x1.3b6p-1f, 0x1.254p-1f, 0x1.13fp-1f,
    1.0f, 0x1.c9bp-1f, 0x1.9a8p-1f, 0x1.758p-1f, 0x1.52dp-1f, 0x1.3b6p-1f, 0x1.254p-1f, 0x1.13fp-1f};
alignas(64) inline constexpr float minus_log[16] = {
    0.0f, 0x1.cb5134p-4f, 0x1.c480cp-3f, 0x1.42f9f4p-2f, 0x1.a6c96ep-2f, 0x1.f03114p-2f, 0x1.1d565p-1f, 0x1.3c7e3p-1f,
    0.0f, 0x1.cb5134p-4f, 0x1.c480cp-3f, 0x1.42f9f4p-2f, 0x1.a6c96ep-2f, 0x1.f03114p-2f, 0x1.1d565p-1f, 0x1.3c7e3p-1f};

// Machine: fused(a, b, c) = a * b + c rounded once, and reciprocal(index) and minus_log(index), the entries that the
// lowest three bits of `index` choose.
template <class Machine, class F>
constexpr F log1p_by_table(F x, const Machine& machine) {
    const F u = x + 1.0f;
    const auto bits = bits_of(u);
    const auto index = bits >> 20;
    // Dividing by 2^k is subtracting k from the exponent; that of u is k + 127.
    const F s = from_bits<F>(bits_of(machine.reciprocal(index)) + 0x3f800000u - (bits & 0x7f800000u));
    const F k = from_bits<F>((bits >> 23) | 0x4b000000u) - (0x1p23f + 127.0f);
    const F t = machine.fused(x, s, s - 1.0f);
    const F whole = machine.fused(k, F{} + 0x1.62e43p-1f, machine.minus_log(index));
    F p = machine.fused(F{} - 0x1.03712ap-3f, t, F{} + 0x1.907368p-3f);
    p = machine.fused(p, t, F{} - 0x1.ff90ap-3f);
    p = machine.fused(p, t, F{} + 0x1.555470p-2f);
    p = machine.fused(p, t, F{} - 0.5f);
    return whole + machine.fused(t * t, p, t);
}

constexpr float log1p_irregular(float x) {
    if (x > -1.0f && x < 0.0f) {
        return log1p_by_division_float(x);
    }
    // Of 2^100 and more, 1 does not change the float.
    return x > 0.0f || x == 0.0f ? (x < HUGE_VALF && x > 0.0f ? log1p_by_division_float(x) : x)
                                 : (x == -1.0f ? -HUGE_VALF : std::bit_cast<float>(0x7fc00000u));
}

}  // namespace pixfold::PIXFOLD_ISA
