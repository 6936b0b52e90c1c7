#include "kernels.hpp"
#include "log1p.hpp"
#include "pixfold/column_stats.hpp"
#include "pixfold/elements.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

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

StatsCounts column_stats_csr(const CsrView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    StatsCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        counts = x.wide_indices ? csr_typed<T, std::int64_t>(x, a, out, threads)
                                : csr_typed<T, std::int32_t>(x, a, out, threads);
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
