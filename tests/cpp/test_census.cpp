// census against counting one by one, in buffers of exactly the size that they address.
#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "matrices.hpp"
#include "pixfold/census.hpp"

namespace pixfold::tests {
namespace {

CensusCounts count(const Matrix& x) {
    CensusCounts counts;
    for (const double value : x.values) {
        counts.missing += std::isnan(value) ? 1 : 0;
        counts.infinite += std::isinf(value) ? 1 : 0;
        counts.negative += value < 0.0 ? 1 : 0;
    }
    return counts;
}

void check(const CensusCounts& found, const CensusCounts& expected) {
    CHECK_EQUAL(found.missing, expected.missing);
    CHECK_EQUAL(found.infinite, expected.infinite);
    CHECK_EQUAL(found.negative, expected.negative);
}

void check_all(const Matrix& x) {
    const CensusCounts expected = count(x);
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (int storage = 0; storage < n_storages; ++storage) {
            const Dense dense(x, static_cast<Storage>(storage));
            for (const int threads : {1, 3}) {
                context = isa + " " + name_of(x.dtype) + ", storage " + text(storage) + ", " + text(x.n_samples) +
                          " samples of " + text(x.n_features) + " features, " + text(threads) + " threads";
                check(cpu::census_dense(dense.view(), threads), expected);
            }
        }
        for (const bool wide : {false, true}) {
            context = isa + " csr " + name_of(x.dtype);
            const Csr csr(x, wide);
            check(cpu::census_csr(csr.view(), 2), expected);
        }
    }
}

void dtypes() {
    for (int d = 0; d < n_dtypes; ++d) {
        for (const std::int64_t n_features : {1, 15, 16, 17, 33, 257}) {
            Matrix x = make_matrix(all_dtypes[d], 21, n_features, 3, true, true);
            if (is_floating(x.dtype)) {
                x.values.front() = -infinity;
                x.values.back() = infinity;
                x.values[x.values.size() / 2] = -0.0;
            }
            check_all(x);
        }
    }
}

// One value among many that are not looked at one by one, wherever it is.
void one_value() {
    for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16}) {
        for (const std::int64_t place : {0, 4095, 4096, 65535, 65536, 70000}) {
            for (const double value : {nan, infinity, -infinity, -1.0}) {
                Matrix x{dtype, 1, 70001, std::vector<double>(70001, 1.0)};
                x.values[static_cast<std::size_t>(place)] = value;
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
