// column_stats, dense and sparse, against sums taken in two passes.
#include <vector>

#include "cpu/dispatch.hpp"
#include "pixfold/column_stats.hpp"
#include "stats_reference.hpp"

namespace pixfold::tests {
namespace {

// Every number of threads gives the bits of the first, and so do the instruction sets that round alike: the baseline
// has a logarithm of its own, and rounds a square before it adds it.
template <class Kernel>
void check_all(const Matrix& x, const Transform& t, const std::string& what, const Kernel& kernel) {
    Stats first(x.n_features);
    bool seen = false;
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const int threads : {1, 2, 4}) {
            context = isa + " " + what + " " + name_of(x.dtype) + ", " + text(x.n_samples) + " samples of " +
                      text(x.n_features) + " features, " + text(threads) + " threads";
            Stats stats(x.n_features);
            stats.counts = kernel(stats, threads);
            if (!seen) {
                check_stats(x, t, stats);
                first = stats;
                seen = true;
            }
            CHECK(stats == first);
        }
        seen = seen && isa != "baseline";
    }
}

void check_dense(const Matrix& x, const Transform& t, Storage storage) {
    const Dense dense(x, storage);
    check_all(x, t, "dense", [&](Stats& stats, int threads) {
        return cpu::column_stats_dense(dense.view(), t.arguments(), stats.output(), threads);
    });
}

void check_csr(const Matrix& x, const Transform& t, bool wide) {
    const Csr csr(x, wide);
    check_all(x, t, wide ? "wide csr" : "csr", [&](Stats& stats, int threads) {
        return cpu::column_stats_csr(csr.view(), t.arguments(), stats.output(), threads);
    });
}

// Around a block of samples (128), and of features (256 and 512).
void sizes() {
    int step = 0;
    for (const std::int64_t n_features : {1, 2, 15, 17, 64, 511, 512, 513, 1025}) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 127, 128, 129, 300}) {
            if (n_features > 100 && n_samples > 3 && n_samples != 129) {
                continue;
            }
            for (int repeat = 0; repeat < 3; ++repeat, ++step) {
                const DType dtype = all_dtypes[(step * 5) % n_dtypes];
                const Matrix x = make_matrix(dtype, n_samples, n_features, static_cast<std::uint64_t>(step), true);
                const Transform t = make_transform(x, step);
                check_dense(x, t, static_cast<Storage>(step % n_storages));
                check_csr(x, t, step % 2 == 0);
            }
        }
    }
}

void dtypes() {
    for (int d = 0; d < n_dtypes; ++d) {
        for (int step = 0; step < 6; ++step) {
            const Matrix x = make_matrix(all_dtypes[d], 140, 40, static_cast<std::uint64_t>(step), true, step % 2 == 1);
            Transform t = make_transform(x, step);
            t.clip_below_zero = t.log || step == 1;
            check_dense(x, t, static_cast<Storage>((d + step) % n_storages));
            check_csr(x, t, step % 2 == 0);
        }
    }
}

// Both an offset and a row scale, which only dense samples can have.
void offset_and_row_scale() {
    const Matrix x = make_matrix(DType::f32, 150, 30, 1, true);
    Transform t = make_transform(x, 0);
    t.row_scale = make_transform(x, 1).row_scale;
    check_dense(x, t, Storage::packed);
}

// A feature without values, a constant one whose square loses every digit, one far from 0 with a small spread.
void hard_columns() {
    Matrix x{DType::f64, 400, 3, {}};
    for (int i = 0; i < 400; ++i) {
        x.values.insert(x.values.end(), {nan, 1e8 + 0.1, 1e9 + (i % 2 == 0 ? 0.5 : -0.5)});
    }
    check_dense(x, Transform{}, Storage::packed);
    check_csr(x, Transform{}, false);
    const Dense dense(x, Storage::packed);
    Stats stats(3);
    cpu::column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), 1);
    CHECK_EQUAL(stats.m2[1], 0.0);
    CHECK_EQUAL(stats.m2[2], 100.0);  // 400 squares of 1/2; about a pivot every step is exact
}

// More samples than a segment (8,192) holds, so that threads share the samples of a few features.
void tall() {
    for (const DType dtype : {DType::f32, DType::f64, DType::u8}) {
        const Matrix x = make_matrix(dtype, 2 * stats_segment + 77, 3, 5, true, true);
        check_dense(x, Transform{}, Storage::packed);
        check_dense(x, make_transform(x, 1), Storage::fortran);
        check_csr(x, Transform{}, false);
    }
}

// Whatever the strides, the bits of packed samples.
void storages() {
    for (int d = 0; d < n_dtypes; ++d) {
        const Matrix x = make_matrix(all_dtypes[d], 150, 300, 6, true, true);
        for (const std::string& isa : available_isas()) {
            set_isa(isa);
            const Dense packed(x, Storage::packed);
            Stats first(x.n_features);
            first.counts = cpu::column_stats_dense(packed.view(), Transform{}.arguments(), first.output(), 1);
            for (int storage = 0; storage < n_storages; ++storage) {
                context = isa + " " + name_of(x.dtype) + ", storage " + text(storage);
                const Dense dense(x, static_cast<Storage>(storage));
                Stats stats(x.n_features);
                stats.counts = cpu::column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), 2);
                CHECK(stats == first);
            }
        }
    }
}

void infinite_values() {
    Matrix x = make_matrix(DType::f32, 20, 5, 2);
    x.values[3] = infinity;
    x.values[50] = -infinity;
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        const Dense dense(x, Storage::packed);
        const Csr csr(x, false);
        Stats stats(5);
        CHECK_EQUAL(cpu::column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), 1).infinite, 2);
        CHECK_EQUAL(cpu::column_stats_csr(csr.view(), Transform{}.arguments(), stats.output(), 2).infinite, 2);
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes},
                {"dtypes", dtypes},
                {"offset_and_row_scale", offset_and_row_scale},
                {"hard_columns", hard_columns},
                {"tall", tall},
                {"storages", storages},
                {"infinite_values", infinite_values}});
}
