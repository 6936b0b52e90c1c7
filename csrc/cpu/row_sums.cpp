#include "kernels.hpp"
#include "pixfold/column_stats.hpp"
#include "pixfold/elements.hpp"

namespace pixfold::PIXFOLD_ISA {
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
