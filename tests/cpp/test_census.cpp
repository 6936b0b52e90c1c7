// census against counting one by one, in buffers of exactly the size that they address.
#include "device_matrices.hpp"
#include "pixfold/census.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

void check(const Matrix& x, const CensusCounts& found) {
    CensusCounts expected;
    for (const double value : x.values) {
        expected.missing += std::isnan(value) ? 1 : 0;
        expected.infinite += std::isinf(value) ? 1 : 0;
        expected.negative += value < 0.0 ? 1 : 0;
    }
    CHECK_EQUAL(found.missing, expected.missing);
    CHECK_EQUAL(found.infinite, expected.infinite);
    CHECK_EQUAL(found.negative, expected.negative);
}

// What a kernel of the device adds to counts.
template <class F>
CensusCounts counted(F&& queue) {
    DeviceArray<unsigned long long> counts(std::vector<unsigned long long>{10, 20, 30});
    queue(counts.data());
    const std::vector<unsigned long long> sums = counts.read();
    return {static_cast<std::int64_t>(sums[0]) - 10, static_cast<std::int64_t>(sums[1]) - 20,
            static_cast<std::int64_t>(sums[2]) - 30};
}

void check_all(const Matrix& x, Side side) {
    const std::string what =
        std::string(name_of(x.dtype)) + ", " + text(x.n_samples) + " samples of " + text(x.n_features) + " features, ";
    for (int storage = 0; storage < n_storages; ++storage) {
        context = what + "storage " + text(storage);
        const Dense dense(x, static_cast<Storage>(storage));
        if (side == Side::cpu) {
            on_cpu({1, 3}, [&](int threads) { check(x, cpu::census_dense(dense.view(), threads)); });
        } else if (static_cast<Storage>(storage) != Storage::unaligned) {
            const DeviceDense device(dense);
            check(x, counted([&](auto* counts) { cuda::census_dense(device.view(), counts, nullptr); }));
        }
    }
    for (const bool wide : {false, true}) {
        context = what + "csr";
        const Csr csr(x, wide);
        if (side == Side::cpu) {
            on_cpu({2}, [&](int threads) { check(x, cpu::census_csr(csr.view(), threads)); });
        } else {
            const DeviceCsr device(csr);
            check(x, counted([&](auto* counts) { cuda::census_csr(device.view(), csr.n_stored(), counts, nullptr); }));
        }
    }
}

void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (const std::int64_t n_features : {1, 15, 16, 17, 33, 257}) {
            Matrix x = make_matrix(dtype, 21, n_features, 3, true, true);
            if (is_floating(dtype)) {
                x.values.front() = -infinity;
                x.values.back() = infinity;
                x.values[x.values.size() / 2] = -0.0;
            }
            for (const Side side : sides()) {
                check_all(x, side);
            }
        }
    }
}

// One value among many that are not looked at one by one, around the ends of what the CPU takes at a time, and of what
// a warp (8,192) and one thread of a device do.
void one_value() {
    for (const Side side : sides()) {
        const auto places = side == Side::cpu ? std::vector<std::size_t>{0, 4095, 4096, 65535, 65536, 70000}
                                              : std::vector<std::size_t>{0, 3, 4, 127, 128, 8191, 8192, 20000};
        const std::size_t n = places.back() + 1;
        for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i8}) {
            for (const std::size_t place : places) {
                for (const double value : {nan, infinity, -infinity, -1.0}) {
                    if (!is_floating(dtype) && value != -1.0) {
                        continue;
                    }
                    Matrix x{dtype, 1, static_cast<std::int64_t>(n), std::vector<double>(n, 1.0)};
                    x.values[place] = value;
                    check_all(x, side);
                }
            }
        }
    }
}

void empty() {
    for (const DType dtype : {DType::f32, DType::u8, DType::i64}) {
        for (const Side side : sides()) {
            check_all(Matrix{dtype, 0, 5, {}}, side);
            check_all(Matrix{dtype, 5, 0, {}}, side);
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"dtypes", dtypes}, {"one_value", one_value}, {"empty", empty}});
}
