#include "pixfold/aggregate.hpp"

#include "kernels.hpp"
#include "pixfold/elements.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t block_pixels = 1024;  // accumulators of one class and block: 24 KiB, they stay in L1

template <class T>
void add_sample(const T* sample, std::int64_t n_channels, std::int64_t n_pixels, std::int64_t first, std::int64_t n,
                double inverse_count, double* mean, double* m2, double* mean_abs) {
    double value[block_pixels];
    for (std::int64_t p = 0; p < n; ++p) {
        value[p] = widen<double>(sample[first + p]);
    }
    for (std::int64_t c = 1; c < n_channels; ++c) {
        const T* channel = sample + c * n_pixels + first;
        for (std::int64_t p = 0; p < n; ++p) {
            value[p] += widen<double>(channel[p]);
        }
    }
    for (std::int64_t p = 0; p < n; ++p) {
        const double delta = value[p] - mean[p];
        mean[p] += delta * inverse_count;
        m2[p] += delta * (value[p] - mean[p]);
        mean_abs[p] += (std::fabs(value[p]) - mean_abs[p]) * inverse_count;
    }
}

template <class T>
void aggregate_typed(const AggregateArguments& a, int threads) {
    const T* data = static_cast<const T*>(a.attributions);
    const std::int64_t n_blocks = (a.n_pixels + block_pixels - 1) / block_pixels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t block = 0; block < n_blocks; ++block) {
        const std::int64_t first = block * block_pixels;
        const std::int64_t n = a.n_pixels - first < block_pixels ? a.n_pixels - first : block_pixels;
        for (std::int64_t k = 0; k < a.n_classes; ++k) {
            double seen = static_cast<double>(a.count[k]);
            const std::int64_t at = k * a.n_pixels + first;
            for (std::int64_t b = 0; b < a.n_samples; ++b) {
                if (a.keep[b] && a.labels[b] == k) {
                    seen += 1.0;
                    add_sample(data + b * a.n_channels * a.n_pixels, a.n_channels, a.n_pixels, first, n, 1.0 / seen,
                               a.mean + at, a.m2 + at, a.mean_abs + at);
                }
            }
        }
    }
    for (std::int64_t b = 0; b < a.n_samples; ++b) {
        a.count[a.labels[b]] += a.keep[b] ? 1 : 0;
    }
}

}  // namespace

void aggregate(const AggregateArguments& a, int threads) {
    switch (a.dtype) {
        case DType::f64:
            return aggregate_typed<double>(a, threads);
        case DType::f16:
            return aggregate_typed<Half>(a, threads);
        case DType::bf16:
            return aggregate_typed<BFloat>(a, threads);
        default:
            return aggregate_typed<float>(a, threads);
    }
}

bool all_finite(const void* data, DType dtype, std::int64_t n, int threads) {
    std::int64_t bad = 0;
    with_type(dtype, [&](auto* typed) {
        const auto* values = static_cast<decltype(typed)>(data);
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : bad)
        for (std::int64_t i = 0; i < n; ++i) {
            const double difference = widen<double>(values[i]) - widen<double>(values[i]);
            bad += difference == 0.0 ? 0 : 1;  // inf - inf and NaN - NaN are NaN
        }
    });
    return bad == 0;
}

}  // namespace pixfold::PIXFOLD_ISA
