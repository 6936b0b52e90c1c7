// Element maths of the kernels: loads, stores and conversions. Compiled once per instruction set; without branches, so
// that loops over them become vector code, and without contraction, so that every set gives the same bits. What is
// constexpr is also compiled for CUDA devices.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "isa.hpp"
#include "pixfold/views.hpp"

namespace pixfold::PIXFOLD_ISA {

struct Half {
    std::uint16_t bits;
};
struct BFloat {
    std::uint16_t bits;
};

constexpr float to_float(Half h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
    const std::uint32_t magnitude = h.bits & 0x7fffu;
    // Normal numbers: move exponent and mantissa up and re-bias by a multiplication, which also gets subnormals right.
    const float scaled = std::bit_cast<float>(magnitude << 13) * std::bit_cast<float>(0x77800000u);  // 2^112
    const bool special = magnitude >= 0x7c00u;
    const std::uint32_t bits =
        special ? 0x7f800000u | (magnitude & 0x3ffu) << 13 : std::bit_cast<std::uint32_t>(scaled);
    return std::bit_cast<float>(bits | sign);
}

constexpr float to_float(BFloat b) { return std::bit_cast<float>(static_cast<std::uint32_t>(b.bits) << 16); }

// Round to nearest, ties to even.
constexpr Half to_half(float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    // Below 2^-14 the result is a multiple of 2^-24: adding 0.5 leaves exactly those bits in the mantissa.
    const std::uint32_t small =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
    const std::uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const std::uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    std::uint32_t half = magnitude < 0x38800000u ? small : normal;
    half = magnitude >= 0x477ff000u ? special : half;  // 65520 and more round to infinity
    return Half{static_cast<std::uint16_t>(half | sign)};
}

constexpr BFloat to_bfloat(float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const std::uint32_t nan = (bits >> 16) | 0x40u;
    return BFloat{static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

template <class Compute, class T>
constexpr Compute widen(T x) {
    return static_cast<Compute>(x);
}
template <class Compute>
constexpr Compute widen(Half x) {
    return static_cast<Compute>(to_float(x));
}
template <class Compute>
constexpr Compute widen(BFloat x) {
    return static_cast<Compute>(to_float(x));
}

// Rounding a double to float and then to 16 bits rounds twice; rounding to odd in between makes it one rounding.
constexpr float narrow_to_odd(double x) {
    const float f = static_cast<float>(x);
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
    const bool inexact = static_cast<double>(f) != x && x == x && (bits & 1u) == 0u && (bits & 0x7fffffffu) != 0u;
    const bool away = inexact && ((f > x) == (f > 0.0f));
    // An even result is replaced by its odd neighbour on the side of x.
    const std::uint32_t odd = away ? bits - 1u : bits + 1u;
    return std::bit_cast<float>(inexact && (bits & 0x7f800000u) != 0x7f800000u ? odd : bits);
}

constexpr void store(float* out, float x) { *out = x; }
constexpr void store(float* out, double x) { *out = static_cast<float>(x); }
constexpr void store(double* out, double x) { *out = x; }
constexpr void store(Half* out, float x) { *out = to_half(x); }
constexpr void store(Half* out, double x) { *out = to_half(narrow_to_odd(x)); }
constexpr void store(BFloat* out, float x) { *out = to_bfloat(x); }
constexpr void store(BFloat* out, double x) { *out = to_bfloat(narrow_to_odd(x)); }

// Calls f with a null pointer of the element type that dtype stands for.
template <class F>
inline void with_type(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f32:
            return f(static_cast<const float*>(nullptr));
        case DType::f64:
            return f(static_cast<const double*>(nullptr));
        case DType::f16:
            return f(static_cast<const Half*>(nullptr));
        case DType::bf16:
            return f(static_cast<const BFloat*>(nullptr));
        case DType::b8:
        case DType::u8:
            return f(static_cast<const std::uint8_t*>(nullptr));
        case DType::i8:
            return f(static_cast<const std::int8_t*>(nullptr));
        case DType::i16:
            return f(static_cast<const std::int16_t*>(nullptr));
        case DType::u16:
            return f(static_cast<const std::uint16_t*>(nullptr));
        case DType::i32:
            return f(static_cast<const std::int32_t*>(nullptr));
        case DType::u32:
            return f(static_cast<const std::uint32_t*>(nullptr));
        case DType::i64:
            return f(static_cast<const std::int64_t*>(nullptr));
        case DType::u64:
            return f(static_cast<const std::uint64_t*>(nullptr));
    }
}

// Calls f with `images` as a pointer to elements of dtype, of those that a fold writes.
template <class F>
inline void with_output(DType dtype, void* images, F&& f) {
    switch (dtype) {
        case DType::f16:
            return f(static_cast<Half*>(images));
        case DType::bf16:
            return f(static_cast<BFloat*>(images));
        default:
            return f(static_cast<float*>(images));
    }
}

template <class T>
struct ComputeOf {
    using type = float;
};
template <>
struct ComputeOf<double> {
    using type = double;
};
template <>
struct ComputeOf<std::int32_t> {
    using type = double;
};
template <>
struct ComputeOf<std::uint32_t> {
    using type = double;
};
template <>
struct ComputeOf<std::int64_t> {
    using type = double;
};
template <>
struct ComputeOf<std::uint64_t> {
    using type = double;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

// One element of a strided row; memcpy because a byte stride promises no alignment.
template <class T>
inline T load(const char* row, std::int64_t stride, std::int64_t j) {
    T value;
    std::memcpy(&value, row + j * stride, sizeof(T));
    return value;
}

}  // namespace pixfold::PIXFOLD_ISA
