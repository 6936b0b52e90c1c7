// Row sums, dense and sparse, against sums taken one by one.
#include <vector>

#include "device_matrices.hpp"
#include "pixfold/row_sums.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

std::vector<double> dense_sums(const Dense& host) {
    const DeviceDense x(host);
    const std::int64_t bytes = cuda::row_sums_dense_workspace(x.view());
    DeviceArray<double> out(std::vector<double>(static_cast<std::size_t>(x.view().n_samples), -7.0));
    DeviceMemory workspace(bytes);
    cuda::row_sums_dense(x.view(), out.data(), bytes > 0 ? workspace.data() : nullptr, nullptr);
    return out.read();
}

std::vector<double> csr_sums(const Csr& host) {
    const DeviceCsr x(host);
    DeviceArray<double> out(std::vector<double>(static_cast<std::size_t>(x.view().n_samples), -7.0));
    cuda::row_sums_csr(x.view(), out.data(), nullptr);
    return out.read();
}

// In double, in an order of their own: n additions of the largest number that there is.
void check_sums(const Matrix& x, const std::vector<double>& sums) {
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        long double expected = 0.0L;
        double size = 0.0;
        for (std::int64_t j = 0; j < x.n_features; ++j) {
            const double value = std::isnan(x.at(i, j)) ? 0.0 : x.at(i, j);
            expected += static_cast<long double>(value);
            size += std::fabs(value);
        }
        CHECK_NEAR(sums[static_cast<std::size_t>(i)], static_cast<double>(expected),
                   static_cast<double>(x.n_features + 1) * 0x1p-53 * size);
    }
}

void check(const Matrix& x, Storage storage) {
    context = std::string(name_of(x.dtype)) + ", " + text(x.n_samples) + " samples of " + text(x.n_features) +
              " features, storage " + text(static_cast<int>(storage));
    const Dense dense(x, storage);
    const Csr csr(x, static_cast<int>(storage) % 2 == 0);
    for (const Side side : sides()) {
        if (side == Side::cpu) {
            on_cpu({1, 2}, [&](int threads) {
                std::vector<double> sums(static_cast<std::size_t>(x.n_samples), -7.0), sparse(sums);
                cpu::row_sums_dense(dense.view(), sums.data(), threads);
                cpu::row_sums_csr(csr.view(), sparse.data(), threads);
                check_sums(x, sums);
                check_sums(x, sparse);
            });
        } else if (storage != Storage::unaligned) {
            check_sums(x, dense_sums(dense));
            check_sums(x, csr_sums(csr));
        }
    }
}

void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (const std::int64_t n_features : {0, 1, 33, 1000}) {
            const Matrix x = make_matrix(dtype, 13, n_features, 3, true, true);
            for (int storage = 0; storage < n_storages; ++storage) {
                check(x, static_cast<Storage>(storage));
            }
        }
    }
}

// Around the threads that share a row (a power of two, at most 32), and the values that one of them takes at a time.
void sizes() {
    int step = 0;
    for (const std::int64_t n_features : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 512}) {
        for (const std::int64_t n_samples : {0, 1, 2, 31, 32, 33, 300}) {
            const DType dtype = all_dtypes[++step * 5 % n_dtypes];
            const Matrix x = make_matrix(dtype, n_samples, n_features, static_cast<std::uint64_t>(step), true, true);
            check(x, static_cast<Storage>(step % n_storages));
        }
    }
}

// Around a run of 32 threads (4,096), of which there are several here.
void long_rows() {
    for (const DType dtype : {DType::f32, DType::u8, DType::i64}) {
        for (const std::int64_t n_features : {4095, 4096, 4097, 9001, 12288}) {
            const Matrix x = make_matrix(dtype, 3, n_features, 4, true, true);
            check(x, Storage::packed);
            check(x, Storage::fortran);
            check(x, Storage::columns_reversed);
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"dtypes", dtypes}, {"sizes", sizes}, {"long_rows", long_rows}});
}
