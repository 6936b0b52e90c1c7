#include "pixfold/census.hpp"

#include "math/axes.hpp"
#include "math/elements.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

// What one thread takes at a time, and what is counted one by one where it holds anything to count: it is in L1 then.
constexpr std::int64_t chunk_elements = std::int64_t{1} << 16;
constexpr std::int64_t block_elements = 4096;

// The bits of an element, with the exponent of infinity, which every NaN has too; 0 for integers.
template <class T>
struct Coded {
    using Bits = std::make_unsigned_t<T>;
    static constexpr Bits infinity = 0;
};
template <>
struct Coded<float> {
    using Bits = std::uint32_t;
    static constexpr Bits infinity = 0x7f800000u;
};
template <>
struct Coded<double> {
    using Bits = std::uint64_t;
    static constexpr Bits infinity = 0x7ff0000000000000u;
};
template <>
struct Coded<Half> {
    using Bits = std::uint16_t;
    static constexpr Bits infinity = 0x7c00u;
};
template <>
struct Coded<BFloat> {
    using Bits = std::uint16_t;
    static constexpr Bits infinity = 0x7f80u;
};

template <class T>
constexpr typename Coded<T>::Bits sign_bit =
    static_cast<typename Coded<T>::Bits>(typename Coded<T>::Bits{1} << (8 * sizeof(T) - 1));

// Whether there may be something to count: a sign bit, or an exponent that a unit more carries into the sign bit.
template <class T>
bool suspicious(const char* at, std::int64_t stride, std::int64_t n) {
    using Bits = typename Coded<T>::Bits;
    constexpr Bits unit = static_cast<Bits>(sign_bit<T> - Coded<T>::infinity);
    Bits seen = 0;
    if (stride == static_cast<std::int64_t>(sizeof(T))) {
#pragma omp simd reduction(| : seen)
        for (std::int64_t k = 0; k < n; ++k) {
            const Bits bits = load<Bits>(at, sizeof(T), k);
            seen |= bits;
            if constexpr (Coded<T>::infinity != 0) {
                seen |= static_cast<Bits>((bits & static_cast<Bits>(sign_bit<T> - 1)) + unit);
            }
        }
    } else {
        for (std::int64_t k = 0; k < n; ++k) {
            const Bits bits = load<Bits>(at, stride, k);
            seen |= bits;
            if constexpr (Coded<T>::infinity != 0) {
                seen |= static_cast<Bits>((bits & static_cast<Bits>(sign_bit<T> - 1)) + unit);
            }
        }
    }
    return (seen & sign_bit<T>) != 0;
}

template <class T>
CensusCounts count(const char* at, std::int64_t stride, std::int64_t n) {
    using Bits = typename Coded<T>::Bits;
    constexpr Bits infinity = Coded<T>::infinity;
    std::int32_t missing = 0;
    std::int32_t infinite = 0;
    std::int32_t negative = 0;
#pragma omp simd reduction(+ : missing, infinite, negative)
    for (std::int64_t k = 0; k < n; ++k) {
        const Bits bits = load<Bits>(at, stride, k);
        const Bits size = static_cast<Bits>(bits & static_cast<Bits>(sign_bit<T> - 1));
        const bool below = (bits & sign_bit<T>) != 0;
        if constexpr (infinity != 0) {
            missing += size > infinity ? 1 : 0;
            infinite += size == infinity ? 1 : 0;
            negative += below & (size != 0) & (size <= infinity) ? 1 : 0;
        } else {
            negative += below ? 1 : 0;
        }
    }
    return {missing, infinite, negative};
}

template <class T>
CensusCounts count_run(const char* at, std::int64_t stride, std::int64_t n) {
    CensusCounts counts;
    for (std::int64_t k = 0; k < n; k += block_elements) {
        const std::int64_t here = n - k < block_elements ? n - k : block_elements;
        if (suspicious<T>(at + k * stride, stride, here)) {
            const CensusCounts found = count<T>(at + k * stride, stride, here);
            counts.missing += found.missing;
            counts.infinite += found.infinite;
            counts.negative += found.negative;
        }
    }
    return counts;
}

// `runs` runs of n elements each, `across` bytes apart.
template <class T>
CensusCounts count_runs(const char* at, std::int64_t runs, std::int64_t across, std::int64_t n, std::int64_t along,
                        int threads) {
    if (n == 0) {
        return {};
    }
    const std::int64_t chunks = (n + chunk_elements - 1) / chunk_elements;
    std::int64_t missing = 0;
    std::int64_t infinite = 0;
    std::int64_t negative = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : missing, infinite, negative)
    for (std::int64_t unit = 0; unit < runs * chunks; ++unit) {
        const std::int64_t first = unit % chunks * chunk_elements;
        const std::int64_t here = n - first < chunk_elements ? n - first : chunk_elements;
        const CensusCounts found = count_run<T>(at + unit / chunks * across + first * along, along, here);
        missing += found.missing;
        infinite += found.infinite;
        negative += found.negative;
    }
    return {missing, infinite, negative};
}

}  // namespace

CensusCounts census_dense(const DenseView& x, int threads) {
    CensusCounts counts;
    if (x.n_samples == 0 || x.n_features == 0) {
        return counts;  // and perhaps no memory to point into
    }
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        if constexpr (!std::is_unsigned_v<T>) {
            const Axes axes = axes_of(x);
            counts =
                count_runs<T>(axes.data, axes.across.n, axes.across.stride, axes.along.n, axes.along.stride, threads);
        }
    });
    return counts;
}

CensusCounts census_csr(const CsrView& x, int threads) {
    CensusCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        if constexpr (!std::is_unsigned_v<T>) {
            counts =
                count_runs<T>(static_cast<const char*>(x.values), 1, 0, x.row_start[x.n_samples], sizeof(T), threads);
        }
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
