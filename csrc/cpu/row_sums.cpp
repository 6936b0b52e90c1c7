#include "pixfold/row_sums.hpp"

#include "math/elements.hpp"
#include "simd/sums.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

// Value j of a run goes to sum j % sum_lanes, and the sums are added up in order at the end: many additions at a time,
// and the same ones with every instruction set.
constexpr std::int64_t sum_lanes = 16;
constexpr std::int64_t tile_values = 256;  // a multiple of sum_lanes

inline double value_or_zero(double v) { return v == v ? v : 0.0; }

double total(const double* lanes) {
    double sum = 0.0;
    for (std::int64_t lane = 0; lane < sum_lanes; ++lane) {
        sum += lanes[lane];
    }
    return sum;
}

// n values with `stride` bytes between them.
template <class T>
double sum_of(const char* run, std::int64_t stride, std::int64_t n) {
    using C = Compute<T>;
    constexpr std::int64_t width = lanes_of<Doubles>;
    Doubles sums[sum_lanes / width]{};
    C value[tile_values];
    double lanes[sum_lanes];
    for (std::int64_t at = 0; at < n; at += tile_values) {
        const std::int64_t here = n - at < tile_values ? n - at : tile_values;
        const char* tile = run + at * stride;
        if (stride == static_cast<std::int64_t>(sizeof(T))) {
            for (std::int64_t j = 0; j < here; ++j) {
                value[j] = widen<C>(load<T>(tile, sizeof(T), j));
            }
        } else {
            for (std::int64_t j = 0; j < here; ++j) {
                value[j] = widen<C>(load<T>(tile, stride, j));
            }
        }
        for (std::int64_t j = here; j % sum_lanes != 0; ++j) {
            value[j] = C{0};
        }
        for (std::int64_t j = 0; j < here; j += sum_lanes) {
            for (std::int64_t part = 0; part < sum_lanes / width; ++part) {
                const Doubles v = doubles_at<Doubles>(value + j + part * width);
                sums[part] += v == v ? v : Doubles{};
            }
        }
    }
    std::memcpy(lanes, sums, sizeof(lanes));
    return total(lanes);
}

// The same sums of samples that lie closer together than features: a few samples side by side.
template <class T>
void sum_columns(const DenseView& x, std::int64_t first, std::int64_t n, double* out) {
    double lanes[sum_lanes][tile_values] = {};
    for (std::int64_t j = 0; j < x.n_features; ++j) {
        const char* column = static_cast<const char*>(x.data) + first * x.sample_stride + j * x.feature_stride;
        double* sums = lanes[j % sum_lanes];
        if (x.sample_stride == static_cast<std::int64_t>(sizeof(T))) {
            for (std::int64_t i = 0; i < n; ++i) {
                sums[i] += value_or_zero(widen<double>(load<T>(column, sizeof(T), i)));
            }
        } else {
            for (std::int64_t i = 0; i < n; ++i) {
                sums[i] += value_or_zero(widen<double>(load<T>(column, x.sample_stride, i)));
            }
        }
    }
    for (std::int64_t i = 0; i < n; ++i) {
        double sum = 0.0;
        for (std::int64_t lane = 0; lane < sum_lanes; ++lane) {
            sum += lanes[lane][i];
        }
        out[first + i] = sum;
    }
}

inline std::int64_t size_of_stride(std::int64_t stride) { return stride < 0 ? -stride : stride; }

}  // namespace

void row_sums_dense(const DenseView& x, double* out, int threads) {
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        if (size_of_stride(x.feature_stride) <= size_of_stride(x.sample_stride)) {
#pragma omp parallel for num_threads(threads) schedule(static)
            for (std::int64_t i = 0; i < x.n_samples; ++i) {
                out[i] =
                    sum_of<T>(static_cast<const char*>(x.data) + i * x.sample_stride, x.feature_stride, x.n_features);
            }
            return;
        }
        const std::int64_t n_blocks = (x.n_samples + tile_values - 1) / tile_values;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t block = 0; block < n_blocks; ++block) {
            const std::int64_t first = block * tile_values;
            const std::int64_t left = x.n_samples - first;
            sum_columns<T>(x, first, left < tile_values ? left : tile_values, out);
        }
    });
}

void row_sums_csr(const CsrView& x, double* out, int threads) {
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        const T* values = static_cast<const T*>(x.values);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const std::int64_t start = x.row_start[i];
            out[i] = sum_of<T>(reinterpret_cast<const char*>(values + start), sizeof(T), x.row_start[i + 1] - start);
        }
    });
}

}  // namespace pixfold::PIXFOLD_ISA
