// census for CUDA against counting one by one, and the CPU.
#include <vector>

#include "checks.hpp"
#include "device_matrices.hpp"
#include "pixfold/census.hpp"

namespace pixfold::tests {
namespace {

template <class F>
CensusCounts counted(F&& queue) {
    DeviceArray<unsigned long long> counts(std::vector<unsigned long long>{10, 20, 30});
    queue(counts.data());
    const std::vector<unsigned long long> sums = counts.read();
    return {static_cast<std::int64_t>(sums[0]) - 10, static_cast<std::int64_t>(sums[1]) - 20,
            static_cast<std::int64_t>(sums[2]) - 30};
}

void check(const CensusCounts& found, const CensusCounts& expected) {
    CHECK_EQUAL(found.missing, expected.missing);
    CHECK_EQUAL(found.infinite, expected.infinite);
    CHECK_EQUAL(found.negative, expected.negative);
}

void check_all(const Matrix& x) {
    CensusCounts expected;
    for (const double value : x.values) {
        expected.missing += std::isnan(value) ? 1 : 0;
        expected.infinite += std::isinf(value) ? 1 : 0;
        expected.negative += value < 0.0 ? 1 : 0;
    }
    for (int storage = 0; storage < n_storages - 1; ++storage) {
        context = std::string(name_of(x.dtype)) + ", storage " + text(storage) + ", " + text(x.n_samples) +
                  " samples of " + text(x.n_features) + " features";
        const Dense dense(x, static_cast<Storage>(storage));
        const DeviceDense device(dense);
        const CensusCounts found = counted([&](auto* counts) { cuda::census_dense(device.view(), counts, nullptr); });
        check(found, expected);
        check(found, cpu::census_dense(dense.view(), 1));
    }
    for (const bool wide : {false, true}) {
        context = std::string("csr ") + name_of(x.dtype);
        const Csr csr(x, wide);
        const DeviceCsr device(csr);
        check(counted([&](auto* counts) { cuda::census_csr(device.view(), csr.n_stored(), counts, nullptr); }),
              expected);
    }
}

void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (const std::int64_t n_features : {1, 15, 16, 17, 33, 257}) {
            Matrix x = make_matrix(dtype, 21, n_features, 3, true, true);
            if (is_floating(x.dtype)) {
                x.values.front() = -infinity;
                x.values.back() = infinity;
                x.values[x.values.size() / 2] = -0.0;
            }
            check_all(x);
        }
    }
}

// One value among many, around the ends of what a warp takes (8,192) and of what one thread does.
void one_value() {
    for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i8}) {
        for (const std::int64_t place : {0, 3, 4, 127, 128, 8191, 8192, 20000}) {
            for (const double value : {nan, infinity, -infinity, -1.0}) {
                Matrix x{dtype, 1, 20001, std::vector<double>(20001, 1.0)};
                x.values[static_cast<std::size_t>(place)] = is_floating(dtype) ? value : -1.0;
                check_all(x);
            }
        }
    }
}

void empty() {
    for (const DType dtype : {DType::f32, DType::u8, DType::i64}) {
        check_all(Matrix{dtype, 0, 5, {}});
        check_all(Matrix{dtype, 5, 0, {}});
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"dtypes", dtypes}, {"one_value", one_value}, {"empty", empty}});
}
