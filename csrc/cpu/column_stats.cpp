#include "pixfold/column_stats.hpp"

#include "kernels.hpp"
#include "log1p.hpp"
#include "pixfold/elements.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t block_features = 512;  // eleven arrays of a block stay in L1/L2 while its samples stream by
constexpr std::int64_t block_samples = 128;

// Statistics of one block of features; `sum` and `square` hold the current block of samples about the pivot.
struct Accumulator {
    double min[block_features];
    double max[block_features];
    double mean[block_features];
    double m2[block_features];
    double pivot[block_features];
    double sum[block_features];
    double square[block_features];
    std::int64_t count[block_features];
    std::int64_t missing[block_features];
    std::int64_t zeros[block_features];
    std::int64_t here[block_features];  // values in the current block of samples
    std::int64_t negative;
    std::int64_t infinite;

    void clear(std::int64_t n) {
        for (std::int64_t j = 0; j < n; ++j) {
            min[j] = HUGE_VAL;
            max[j] = -HUGE_VAL;
            mean[j] = m2[j] = pivot[j] = sum[j] = square[j] = 0.0;
            count[j] = missing[j] = zeros[j] = here[j] = 0;
        }
        negative = infinite = 0;
    }

    // Merge the current block of samples: with d = v - pivot, its mean is pivot + sum d / n and its M2 is
    // sum d^2 - (sum d)^2 / n. The pivot (the running mean, or the first value) keeps the difference well conditioned.
    void close_samples(std::int64_t n) {
        for (std::int64_t j = 0; j < n; ++j) {
            const double added = static_cast<double>(here[j]);
            const double before = static_cast<double>(count[j]);
            const double safe = here[j] > 0 ? added : 1.0;
            const double block_mean = pivot[j] + sum[j] / safe;
            double block_m2 = square[j] - sum[j] * sum[j] / safe;
            block_m2 = block_m2 > 0.0 ? block_m2 : 0.0;
            const double delta = block_mean - mean[j];
            const double total = before + safe;
            const bool any = here[j] > 0;
            m2[j] += any ? block_m2 + delta * delta * before * added / total : 0.0;
            mean[j] = any ? (count[j] > 0 ? mean[j] + delta * added / total : block_mean) : mean[j];
            count[j] += here[j];
            here[j] = 0;
            sum[j] = square[j] = 0.0;
        }
    }
};

template <bool log, class T, class C>
void add_sample(const char* row, std::int64_t stride, const StatsArguments& a, std::int64_t first, std::int64_t n,
                C row_scale, Accumulator& s) {
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
    const C floor = a.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL);
    C value[block_features];
    C lift[block_features] = {};
    const char* at = row + first * stride;
    if (stride == static_cast<std::int64_t>(sizeof(T))) {
        for (std::int64_t j = 0; j < n; ++j) {
            value[j] = widen<C>(load<T>(at, sizeof(T), j));
        }
    } else {
        for (std::int64_t j = 0; j < n; ++j) {
            value[j] = widen<C>(load<T>(at, stride, j));
        }
    }
    if (a.offset != nullptr) {
        for (std::int64_t j = 0; j < n; ++j) {
            lift[j] = static_cast<C>(a.offset[first + j]);
        }
    }
#pragma omp simd reduction(+ : negative, infinite)
    for (std::int64_t j = 0; j < n; ++j) {
        const C x = value[j];
        const bool there = x == x;
        const C lifted = x + lift[j];
        C argument = lifted * row_scale;
        negative += lifted < C{0} ? 1 : 0;
        infinite += there && x - x != C{0} ? 1 : 0;
        argument = argument < floor ? floor : argument;
        const double v = static_cast<double>(log ? log1p(argument) : argument);
        s.missing[j] += there ? 0 : 1;
        s.zeros[j] += x == C{0} ? 1 : 0;
        s.min[j] = there && v < s.min[j] ? v : s.min[j];
        s.max[j] = there && v > s.max[j] ? v : s.max[j];
        const double pivot = s.count[j] > 0 ? s.mean[j] : (s.here[j] > 0 ? s.pivot[j] : v);
        s.pivot[j] = there ? pivot : s.pivot[j];
        const double d = there ? v - pivot : 0.0;
        s.sum[j] += d;
        s.square[j] += d * d;
        s.here[j] += there ? 1 : 0;
    }
    s.negative += negative;
    s.infinite += infinite;
}

void write(const Accumulator& s, std::int64_t first, std::int64_t n, const StatsOutput& out) {
    const double nan = std::bit_cast<double>(std::uint64_t{0x7ff8000000000000u});
    for (std::int64_t j = 0; j < n; ++j) {
        const bool any = s.count[j] > 0;
        out.count[first + j] = s.count[j];
        out.missing[first + j] = s.missing[j];
        out.zeros[first + j] = s.zeros[j];
        out.min[first + j] = any ? s.min[j] : nan;
        out.max[first + j] = any ? s.max[j] : nan;
        out.mean[first + j] = any ? s.mean[j] : nan;
        out.m2[first + j] = any ? s.m2[j] : 0.0;
    }
}

template <bool log, class T>
StatsCounts dense_typed(const DenseView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    using C = Compute<T>;
    const std::int64_t n_blocks = (x.n_features + block_features - 1) / block_features;
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : negative, infinite)
    for (std::int64_t block = 0; block < n_blocks; ++block) {
        const std::int64_t first = block * block_features;
        const std::int64_t n = x.n_features - first < block_features ? x.n_features - first : block_features;
        Accumulator s;
        s.clear(n);
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const char* row = static_cast<const char*>(x.data) + i * x.sample_stride;
            const C row_scale = a.row_scale != nullptr ? static_cast<C>(a.row_scale[i]) : C{1};
            add_sample<log, T>(row, x.feature_stride, a, first, n, row_scale, s);
            if ((i + 1) % block_samples == 0) {
                s.close_samples(n);
            }
        }
        s.close_samples(n);
        write(s, first, n, out);
        negative += s.negative;
        infinite += s.infinite;
    }
    return {negative, infinite};
}

// The first entry of a canonical row whose index is at least `feature`.
template <class I>
std::int64_t lower_bound(const I* indices, std::int64_t start, std::int64_t end, std::int64_t feature) {
    while (start < end) {
        const std::int64_t middle = start + (end - start) / 2;
        if (static_cast<std::int64_t>(indices[middle]) < feature) {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    return start;
}

// Each thread takes a range of features and finds it in every (sorted) row; stored values run through Welford's
// recurrence in sample order, and the zeros that are not stored are merged at the end as one block of equal values.
template <class T, class I>
StatsCounts csr_typed(const CsrView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    using C = Compute<T>;
    const T* values = static_cast<const T*>(x.values);
    const I* indices = static_cast<const I*>(x.indices);
    const std::int64_t parts = threads;
    const C floor = a.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL);
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : negative, infinite)
    for (std::int64_t part = 0; part < parts; ++part) {
        const std::int64_t first = x.n_features * part / parts;
        const std::int64_t last = x.n_features * (part + 1) / parts;
        for (std::int64_t j = first; j < last; ++j) {
            out.count[j] = out.missing[j] = out.zeros[j] = 0;
            out.min[j] = HUGE_VAL;
            out.max[j] = -HUGE_VAL;
            out.mean[j] = out.m2[j] = 0.0;
        }
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const C row_scale = a.row_scale != nullptr ? static_cast<C>(a.row_scale[i]) : C{1};
            const std::int64_t end = x.row_start[i + 1];
            for (std::int64_t e = lower_bound(indices, x.row_start[i], end, first); e < end; ++e) {
                const std::int64_t j = static_cast<std::int64_t>(indices[e]);
                if (j >= last) {
                    break;
                }
                const C value = widen<C>(values[e]);
                if (value != value) {
                    ++out.missing[j];
                    continue;
                }
                if (value == C{0}) {
                    continue;  // an explicit zero counts with the ones that are not stored
                }
                infinite += value - value != C{0} ? 1 : 0;
                const C lifted = value + (a.offset != nullptr ? static_cast<C>(a.offset[j]) : C{0});
                C argument = lifted * row_scale;
                negative += lifted < C{0} ? 1 : 0;
                argument = argument < floor ? floor : argument;
                const double v = static_cast<double>(a.log ? log1p(argument) : argument);
                const double n = static_cast<double>(++out.count[j]);
                out.min[j] = v < out.min[j] ? v : out.min[j];
                out.max[j] = v > out.max[j] ? v : out.max[j];
                const double delta = v - out.mean[j];
                out.mean[j] += delta / n;
                out.m2[j] += delta * (v - out.mean[j]);
            }
        }
        for (std::int64_t j = first; j < last; ++j) {
            const std::int64_t zeros = x.n_samples - out.count[j] - out.missing[j];
            C argument = a.offset != nullptr ? static_cast<C>(a.offset[j]) : C{0};
            negative += argument < C{0} ? zeros : 0;
            argument = argument < floor ? floor : argument;
            const double v = static_cast<double>(a.log ? log1p(argument) : argument);
            const double before = static_cast<double>(out.count[j]);
            const double added = static_cast<double>(zeros);
            if (zeros > 0) {
                const double delta = v - out.mean[j];
                out.m2[j] += delta * delta * before * added / (before + added);
                out.mean[j] += delta * added / (before + added);
                out.min[j] = v < out.min[j] ? v : out.min[j];
                out.max[j] = v > out.max[j] ? v : out.max[j];
            }
            out.zeros[j] = zeros;
            out.count[j] += zeros;
            if (out.count[j] == 0) {
                out.min[j] = out.max[j] = out.mean[j] = std::bit_cast<double>(std::uint64_t{0x7ff8000000000000u});
            }
        }
    }
    return {negative, infinite};
}

}  // namespace

StatsCounts column_stats_dense(const DenseView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    StatsCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        counts = a.log ? dense_typed<true, T>(x, a, out, threads) : dense_typed<false, T>(x, a, out, threads);
    });
    return counts;
}

StatsCounts column_stats_csr(const CsrView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    StatsCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        counts = x.wide_indices ? csr_typed<T, std::int64_t>(x, a, out, threads)
                                : csr_typed<T, std::int32_t>(x, a, out, threads);
    });
    return counts;
}

void row_sums_dense(const DenseView& x, double* out, int threads) {
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const char* row = static_cast<const char*>(x.data) + i * x.sample_stride;
            double sum = 0.0;
            for (std::int64_t j = 0; j < x.n_features; ++j) {
                const double value = widen<double>(load<T>(row, x.feature_stride, j));
                sum += value == value ? value : 0.0;
            }
            out[i] = sum;
        }
    });
}

void row_sums_csr(const CsrView& x, double* out, int threads) {
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        const T* values = static_cast<const T*>(x.values);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            double sum = 0.0;
            for (std::int64_t e = x.row_start[i]; e < x.row_start[i + 1]; ++e) {
                const double value = widen<double>(values[e]);
                sum += value == value ? value : 0.0;
            }
            out[i] = sum;
        }
    });
}

}  // namespace pixfold::PIXFOLD_ISA
