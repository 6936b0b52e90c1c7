// Elements of every dtype as doubles, by arithmetic alone: nothing here shares a trick with the kernels.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "pixfold/views.hpp"

namespace pixfold::tests {

inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double infinity = std::numeric_limits<double>::infinity();

inline constexpr DType all_dtypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16, DType::b8,
                                       DType::i8,  DType::u8,  DType::i16, DType::u16,  DType::i32,
                                       DType::u32, DType::i64, DType::u64};
inline constexpr int n_dtypes = static_cast<int>(sizeof(all_dtypes) / sizeof(all_dtypes[0]));

inline const char* name_of(DType dtype) {
    constexpr const char* names[] = {"f32", "f64", "f16", "bf16", "b8",  "i8", "u8",
                                     "i16", "u16", "i32", "u32",  "i64", "u64"};
    return names[static_cast<int>(dtype)];
}

inline std::int64_t size_of(DType dtype) {
    constexpr std::int64_t sizes[] = {4, 8, 2, 2, 1, 1, 1, 2, 2, 4, 4, 8, 8};
    return sizes[static_cast<int>(dtype)];
}

inline bool is_floating(DType dtype) { return static_cast<int>(dtype) <= static_cast<int>(DType::bf16); }

// Sixteen-bit floats differ in the width of their exponent: 5 bits for half, 8 for bfloat.
inline constexpr int half_exponent = 5;
inline constexpr int bfloat_exponent = 8;

inline double decode16(std::uint16_t bits, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = (bits & 0x7fff) >> mantissa_bits;
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    double magnitude;
    if (exponent == (1 << exponent_bits) - 1) {
        magnitude = mantissa == 0 ? infinity : nan;
    } else if (exponent == 0) {
        magnitude = std::ldexp(mantissa, 1 - bias - mantissa_bits);
    } else {
        magnitude = std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
    }
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// One rounding to nearest, ties to even: nearbyint of the multiple of the result's last place.
inline std::uint16_t encode16(double x, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int infinite = ((1 << exponent_bits) - 1) << mantissa_bits;
    const int sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) {
        return static_cast<std::uint16_t>(sign | infinite | 1 << (mantissa_bits - 1));
    }
    int bits = 0;
    if (std::isinf(x)) {
        bits = infinite;
    } else if (x != 0.0) {
        const int exponent = std::ilogb(x) > 1 - bias ? std::ilogb(x) : 1 - bias;
        if (exponent > bias) {
            bits = infinite;
        } else {
            const double places = std::nearbyint(std::ldexp(std::fabs(x), mantissa_bits - exponent));
            // Rounding up to the next power of two carries into the exponent by itself, at the top into infinity.
            bits = ((exponent + bias - 1) << mantissa_bits) + static_cast<int>(places);
        }
    }
    return static_cast<std::uint16_t>(sign | bits);
}

template <class T>
T read_as(const void* at) {
    T value;
    std::memcpy(&value, at, sizeof(T));
    return value;
}

inline double read_element(DType dtype, const void* at) {
    switch (dtype) {
        case DType::f32:
            return static_cast<double>(read_as<float>(at));
        case DType::f64:
            return read_as<double>(at);
        case DType::f16:
            return decode16(read_as<std::uint16_t>(at), half_exponent);
        case DType::bf16:
            return decode16(read_as<std::uint16_t>(at), bfloat_exponent);
        case DType::b8:
        case DType::u8:
            return read_as<std::uint8_t>(at);
        case DType::i8:
            return read_as<std::int8_t>(at);
        case DType::i16:
            return read_as<std::int16_t>(at);
        case DType::u16:
            return read_as<std::uint16_t>(at);
        case DType::i32:
            return read_as<std::int32_t>(at);
        case DType::u32:
            return read_as<std::uint32_t>(at);
        case DType::i64:
            return static_cast<double>(read_as<std::int64_t>(at));
        case DType::u64:
            return static_cast<double>(read_as<std::uint64_t>(at));
    }
    return nan;
}

template <class T>
void write_as(void* at, T value) {
    std::memcpy(at, &value, sizeof(T));
}

// Rounds to the dtype; integers must be in its range.
inline void write_element(DType dtype, double x, void* at) {
    switch (dtype) {
        case DType::f32:
            return write_as(at, static_cast<float>(x));
        case DType::f64:
            return write_as(at, x);
        case DType::f16:
            return write_as(at, encode16(x, half_exponent));
        case DType::bf16:
            return write_as(at, encode16(x, bfloat_exponent));
        case DType::b8:
        case DType::u8:
            return write_as(at, static_cast<std::uint8_t>(x));
        case DType::i8:
            return write_as(at, static_cast<std::int8_t>(x));
        case DType::i16:
            return write_as(at, static_cast<std::int16_t>(x));
        case DType::u16:
            return write_as(at, static_cast<std::uint16_t>(x));
        case DType::i32:
            return write_as(at, static_cast<std::int32_t>(x));
        case DType::u32:
            return write_as(at, static_cast<std::uint32_t>(x));
        case DType::i64:
            return write_as(at, static_cast<std::int64_t>(x));
        case DType::u64:
            return write_as(at, static_cast<std::uint64_t>(x));
    }
}

// Half an ulp of 1, and the smallest subnormal.
struct Precision {
    double roundoff;
    double tiny;
};

inline Precision precision_of(DType dtype) {
    switch (dtype) {
        case DType::f64:
            return {0x1p-53, DBL_TRUE_MIN};
        case DType::f16:
            return {0x1p-11, 0x1p-24};
        case DType::bf16:
            return {0x1p-8, 0x1p-133};
        default:
            return {0x1p-24, 0x1p-149};
    }
}

// What a kernel computes in for this input.
inline Precision compute_precision(DType input) {
    return precision_of(computes_in_double(input) ? DType::f64 : DType::f32);
}

}  // namespace pixfold::tests
