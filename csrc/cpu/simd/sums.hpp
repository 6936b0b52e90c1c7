// Sums of double over a register of values at a time. F is a register or a single value, as in lanes.hpp.
#pragma once

#include "lanes.hpp"

namespace pixfold::PIXFOLD_ISA {

// The doubles that a register of values becomes.
template <class F>
struct SumsOf {
    using type = Doubles;
};
template <>
struct SumsOf<float> {
    using type = double;
};
template <>
struct SumsOf<double> {
    using type = double;
};
template <class F>
using Sums = typename SumsOf<F>::type;
template <class F>
constexpr std::int64_t parts_of = lanes_of<F> / lanes_of<Sums<F>>;

// The values from `from` on, of any alignment, as doubles.
template <class D>
inline D doubles_at(const double* from) {
    return load_lanes<D>(from);
}
template <class D>
inline D doubles_at(const float* from) {
#if defined(__AVX512F__)
    if constexpr (sizeof(D) == register_bytes) {
        return D(_mm512_cvtps_pd(_mm256_loadu_ps(from)));
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(D) == register_bytes) {
        return D(_mm256_cvtps_pd(_mm_loadu_ps(from)));
    }
#elif defined(__SSE2__)
    if constexpr (sizeof(D) == register_bytes) {
        double two;  // memcpy: floats are not aligned as doubles are
        std::memcpy(&two, from, sizeof(two));
        return D(_mm_cvtps_pd(_mm_castpd_ps(_mm_set_sd(two))));
    }
#endif
    float values[lanes_of<D>];
    std::memcpy(values, from, sizeof(values));
    D x;
    double doubles[lanes_of<D>];
    for (int lane = 0; lane < lanes_of<D>; ++lane) {
        doubles[lane] = static_cast<double>(values[lane]);
    }
    std::memcpy(&x, doubles, sizeof(x));
    return x;
}

// sum + d^2, in one rounding where the processor has it.
inline double add_square(double sum, double d) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fma(d, d, sum);
#else
    return sum + d * d;
#endif
}
inline Doubles add_square(Doubles sum, Doubles d) {
#if defined(__AVX512F__)
    return Doubles(_mm512_fmadd_pd(__m512d(d), __m512d(d), __m512d(sum)));
#elif defined(__FMA__)
    return Doubles(_mm256_fmadd_pd(__m256d(d), __m256d(d), __m256d(sum)));
#elif defined(__ARM_FEATURE_FMA)
    for (int lane = 0; lane < lanes_of<Doubles>; ++lane) {
        sum[lane] = __builtin_fma(d[lane], d[lane], sum[lane]);
    }
    return sum;
#else
    return sum + d * d;
#endif
}

// sum + d. Where it can, the addition goes through the multipliers: conversions and comparisons keep the adders busy.
inline double add(double sum, double d) { return sum + d; }
inline Doubles add(Doubles sum, Doubles d) {
#if defined(__AVX512F__)
    return Doubles(_mm512_fmadd_pd(__m512d(d), _mm512_set1_pd(1.0), __m512d(sum)));
#elif defined(__FMA__)
    return Doubles(_mm256_fmadd_pd(__m256d(d), _mm256_set1_pd(1.0), __m256d(sum)));
#else
    return sum + d;
#endif
}

// The smaller and the larger of two; x where y is NaN.
template <class F>
inline F lower(F x, F y) {
    return at_most(y, x);
}
template <class F>
inline F higher(F x, F y) {
    return at_least(y, x);
}
#if defined(__SSE2__)
// GCC makes jumps or integer moves of selections between single values.
inline float lower(float x, float y) { return _mm_cvtss_f32(_mm_min_ss(_mm_set_ss(y), _mm_set_ss(x))); }
inline float higher(float x, float y) { return _mm_cvtss_f32(_mm_max_ss(_mm_set_ss(y), _mm_set_ss(x))); }
inline double lower(double x, double y) { return _mm_cvtsd_f64(_mm_min_sd(_mm_set_sd(y), _mm_set_sd(x))); }
inline double higher(double x, double y) { return _mm_cvtsd_f64(_mm_max_sd(_mm_set_sd(y), _mm_set_sd(x))); }
#endif
#if defined(__AVX512F__)
inline Doubles lower(Doubles x, Doubles y) { return Doubles(_mm512_min_pd(__m512d(y), __m512d(x))); }
inline Doubles higher(Doubles x, Doubles y) { return Doubles(_mm512_max_pd(__m512d(y), __m512d(x))); }
#elif defined(__AVX2__)
inline Doubles lower(Doubles x, Doubles y) { return Doubles(_mm256_min_pd(__m256d(y), __m256d(x))); }
inline Doubles higher(Doubles x, Doubles y) { return Doubles(_mm256_max_pd(__m256d(y), __m256d(x))); }
#elif defined(__SSE2__)
inline Doubles lower(Doubles x, Doubles y) { return Doubles(_mm_min_pd(__m128d(y), __m128d(x))); }
inline Doubles higher(Doubles x, Doubles y) { return Doubles(_mm_max_pd(__m128d(y), __m128d(x))); }
#endif

// Counters beside values: as wide, so that a comparison of values can be counted as it is.
template <class F>
using Counts = typename LaneTraits<F>::Bits;

inline std::uint32_t count_where(std::uint32_t n, bool found) { return n + (found ? 1u : 0u); }
inline std::uint64_t count_where(std::uint64_t n, bool found) { return n + (found ? 1u : 0u); }
template <class Found>
inline Bits32 count_where(Bits32 n, Found found)
    requires(sizeof(Found) == sizeof(Bits32) && sizeof(found[0]) == 4)
{
    return n - Bits32(found);
}
template <class Found>
inline Bits64 count_where(Bits64 n, Found found)
    requires(sizeof(Found) == sizeof(Bits64) && sizeof(found[0]) == 8)
{
    return n - Bits64(found);
}

// The total of a register of counters.
template <class N>
inline std::int64_t total_of(N counts) {
    if constexpr (sizeof(N) <= 8) {
        return static_cast<std::int64_t>(counts);
    } else {
        std::int64_t total = 0;
        for (int lane = 0; lane < static_cast<int>(sizeof(N) / sizeof(counts[0])); ++lane) {
            total += static_cast<std::int64_t>(counts[lane]);
        }
        return total;
    }
}

}  // namespace pixfold::PIXFOLD_ISA
