// One register of floats or doubles of the instruction set that is compiled for, and the few operations that plain C++
// has no word for. Arithmetic, comparisons and selections are the compilers' own on vector types (GCC and Clang).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "math/lane_traits.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace pixfold::PIXFOLD_ISA {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

using Floats [[gnu::vector_size(register_bytes)]] = float;
using Doubles [[gnu::vector_size(register_bytes)]] = double;
using Bits32 [[gnu::vector_size(register_bytes)]] = std::uint32_t;
using Bits64 [[gnu::vector_size(register_bytes)]] = std::uint64_t;

template <>
struct LaneTraits<Floats> {
    using Scalar = float;
    using Bits = Bits32;
};
template <>
struct LaneTraits<Doubles> {
    using Scalar = double;
    using Bits = Bits64;
};
template <class C>
struct RegisterOf;
template <>
struct RegisterOf<float> {
    using type = Floats;
};
template <>
struct RegisterOf<double> {
    using type = Doubles;
};
template <class C>
using Register = typename RegisterOf<C>::type;

template <class F>
constexpr std::int64_t lanes_of = static_cast<std::int64_t>(sizeof(F) / sizeof(typename LaneTraits<F>::Scalar));

template <class F>
inline F load_lanes(const typename LaneTraits<F>::Scalar* from) {
    F x;
    std::memcpy(&x, from, sizeof(F));
    return x;
}
template <class F>
inline void store_lanes(typename LaneTraits<F>::Scalar* to, F x) {
    std::memcpy(to, &x, sizeof(F));
}

// `to` is aligned to the register. The line goes to memory without being read first and without pushing others out of
// the caches; fence_streams() orders these stores before what follows.
template <class F>
inline void stream_lanes(typename LaneTraits<F>::Scalar* to, F x) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), std::bit_cast<__m512i>(x));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), std::bit_cast<__m256i>(x));
#elif defined(__SSE2__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), std::bit_cast<__m128i>(x));
#else
    store_lanes<F>(to, x);
#endif
}

inline void fence_streams() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

#if defined(__AVX512F__)
inline Floats at_least(Floats lo, Floats x) { return Floats(_mm512_max_ps(__m512(lo), __m512(x))); }
inline Floats at_most(Floats hi, Floats x) { return Floats(_mm512_min_ps(__m512(hi), __m512(x))); }
#elif defined(__AVX2__)
inline Floats at_least(Floats lo, Floats x) { return Floats(_mm256_max_ps(__m256(lo), __m256(x))); }
inline Floats at_most(Floats hi, Floats x) { return Floats(_mm256_min_ps(__m256(hi), __m256(x))); }
#elif defined(__SSE2__)
inline Floats at_least(Floats lo, Floats x) { return Floats(_mm_max_ps(__m128(lo), __m128(x))); }
inline Floats at_most(Floats hi, Floats x) { return Floats(_mm_min_ps(__m128(hi), __m128(x))); }
#endif

// Whether any lane's bits reach `limit`.
template <class F>
inline bool any_reaches(F x, typename LaneTraits<typename LaneTraits<F>::Scalar>::Bits limit) {
#if defined(__AVX512F__)
    if constexpr (sizeof(limit) == 4) {
        return _mm512_cmpge_epu32_mask(std::bit_cast<__m512i>(x), _mm512_set1_epi32(static_cast<int>(limit))) != 0;
    } else {
        return _mm512_cmpge_epu64_mask(std::bit_cast<__m512i>(x), _mm512_set1_epi64(static_cast<long long>(limit))) !=
               0;
    }
#else
    struct Words {
        std::uint64_t word[register_bytes / 8];
    };
#if defined(__AVX2__)
    const auto reached = bits_of(x) >= limit;
    return _mm256_movemask_epi8(std::bit_cast<__m256i>(reached)) != 0;
#elif defined(__SSE2__)
    const auto reached = bits_of(x) >= limit;
    return _mm_movemask_epi8(std::bit_cast<__m128i>(reached)) != 0;
#else
    const Words reached = std::bit_cast<Words>(bits_of(x) >= limit);
    std::uint64_t any = 0;
    for (const std::uint64_t word : reached.word) {
        any |= word;
    }
    return any != 0;
#endif
#endif
}

#if defined(__FMA__)
// a * b + c, rounded once.
inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#if defined(__AVX512F__)
inline Floats fused(Floats a, Floats b, Floats c) { return Floats(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c))); }
#else
inline Floats fused(Floats a, Floats b, Floats c) { return Floats(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c))); }
#endif

// An entry per lane of a table of eight, which is stored twice over; the lowest three bits of `index` choose.
inline float entry_of(const float* table, std::uint32_t index) { return table[index & 7u]; }
#if defined(__AVX512F__)
inline Floats entry_of(const float* table, Bits32 index) {
    return Floats(_mm512_permutexvar_ps(std::bit_cast<__m512i>(index), _mm512_load_ps(table)));
}
#else
inline Floats entry_of(const float* table, Bits32 index) {
    return Floats(_mm256_permutevar8x32_ps(_mm256_load_ps(table), std::bit_cast<__m256i>(index)));
}
#endif
#endif

}  // namespace pixfold::PIXFOLD_ISA
