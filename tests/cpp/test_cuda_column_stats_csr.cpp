// column_stats of sparse samples for CUDA, against sums taken in two passes and what the CPU counts.
#include <vector>

#include "cpu/dispatch.hpp"
#include "device_matrices.hpp"
#include "device_stats.hpp"
#include "pixfold/column_stats.hpp"

namespace pixfold::tests {
namespace {

DeviceStats device_stats(const DeviceCsr& x, const Transform& t) {
    DeviceTransform how(t);
    return stats_on_device(x.view().n_features, cuda::column_stats_csr_workspace(x.view()),
                           [&](const StatsOutput& out, unsigned long long* counts, void* workspace) {
                               cuda::column_stats_csr(x.view(), how.arguments(), out, counts, workspace, nullptr);
                           });
}

void check(const Matrix& x, const Transform& t, bool wide) {
    context = std::string(name_of(x.dtype)) + ", " + text(x.n_samples) + " samples of " + text(x.n_features) +
              " features" + (wide ? ", wide indices" : "") + (t.log ? ", log" : "") +
              (t.offset.empty() ? "" : ", offset") + (t.row_scale.empty() ? "" : ", row scale");
    const Csr csr(x, wide);
    const DeviceStats stats = device_stats(DeviceCsr(csr), t);
    check_stats(x, t, stats, 8192);  // rows of the largest block
    CHECK_EQUAL(stats.taken, csr.n_stored());
    Stats cpu(x.n_features);
    cpu.counts = cpu::column_stats_csr(csr.view(), t.arguments(), cpu.output(), 1);
    CHECK(stats.count == cpu.count);
    CHECK(stats.missing == cpu.missing);
    CHECK(stats.zeros == cpu.zeros);
    CHECK_EQUAL(stats.counts.negative, cpu.counts.negative);
    CHECK_EQUAL(stats.counts.infinite, cpu.counts.infinite);
    // Logarithms have the CPU's bits where it fuses multiplications and additions, too.
    if (!t.log || isa_in_use() != "baseline") {
        for (std::size_t j = 0; j < cpu.min.size(); ++j) {
            CHECK_NEAR(stats.min[j], cpu.min[j], 0.0);
            CHECK_NEAR(stats.max[j], cpu.max[j], 0.0);
        }
    }
}

// Around a warp (32), a tile of features (512), the rows that are looked up together (32) and a block of them (128).
void sizes() {
    int step = 0;
    for (const std::int64_t n_features : {1, 2, 31, 32, 33, 64, 511, 512, 513, 1025}) {
        for (const std::int64_t n_samples : {0, 1, 2, 7, 8, 9, 31, 32, 33, 127, 128, 129, 300}) {
            if (n_features > 100 && n_samples > 9 && n_samples != 129) {
                continue;
            }
            for (int repeat = 0; repeat < 3; ++repeat, ++step) {
                const DType dtype = all_dtypes[(step * 5) % n_dtypes];
                const Matrix x = make_matrix(dtype, n_samples, n_features, static_cast<std::uint64_t>(step), true);
                check(x, make_transform(x, step), step % 2 == 0);
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
            check(x, t, step % 2 == 0);
        }
    }
}

// Few stored values, at places that differ from row to row: rows that are empty, end within a tile or begin after it.
void uneven_rows() {
    Matrix x = make_matrix(DType::f32, 200, 1600, 5, true, true);
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        for (std::int64_t j = 0; j < x.n_features; ++j) {
            const bool kept = i % 5 == 0   ? false
                              : i % 5 == 1 ? j < i
                              : i % 5 == 2 ? j >= x.n_features - i
                              : i % 5 == 3 ? (i * 31 + j) % 97 == 0
                                           : j / 512 == i % 4;
            x.values[static_cast<std::size_t>(i * x.n_features + j)] *= kept ? 1.0 : 0.0;
            if (!kept) {
                x.values[static_cast<std::size_t>(i * x.n_features + j)] = 0.0;
            }
        }
    }
    check(x, Transform{}, false);
    check(x, make_transform(x, 1), true);
}

// More blocks than are merged at a time (16).
void tall() {
    for (const DType dtype : {DType::f32, DType::f64, DType::u8}) {
        const Matrix x = make_matrix(dtype, 40 * 128 + 77, 3, 5, true, true);
        check(x, Transform{}, false);
        Transform t = make_transform(x, 2);
        t.clip_below_zero = true;
        check(x, t, true);
    }
}

// A feature without values, a constant one whose square loses every digit, one far from 0 with a small spread.
void hard_columns() {
    Matrix x{DType::f64, 400, 3, {}};
    for (int i = 0; i < 400; ++i) {
        x.values.insert(x.values.end(), {nan, 1e8 + 0.1, 1e9 + (i % 2 == 0 ? 0.5 : -0.5)});
    }
    check(x, Transform{}, false);
    const DeviceStats stats = device_stats(DeviceCsr(Csr(x, false)), Transform{});
    CHECK_EQUAL(stats.m2[1], 0.0);
    CHECK_EQUAL(stats.m2[2], 100.0);  // 400 squares of 1/2; about a pivot every step is exact
}

void infinite_values() {
    Matrix x = make_matrix(DType::f32, 20, 5, 2);
    x.values[3] = infinity;
    x.values[50] = -infinity;
    const DeviceStats stats = device_stats(DeviceCsr(Csr(x, false)), Transform{});
    CHECK_EQUAL(stats.counts.infinite, 2);
    CHECK_EQUAL(stats.counts.negative, 1);
    CHECK(!std::isfinite(stats.mean[3]) && !std::isfinite(stats.m2[0]));
    CHECK(std::isfinite(stats.mean[1]) && std::isfinite(stats.m2[1]));
}

// Rows that are not canonical, and features that there are not: nothing outside the sums is written.
void bad_indices() {
    Matrix x = make_matrix(DType::f32, 40, 600, 4);
    const Csr csr(x, false, 1);  // every value stored
    std::vector<std::int32_t> indices(static_cast<std::size_t>(csr.n_stored()));
    for (std::size_t k = 0; k < indices.size(); ++k) {
        indices[k] = static_cast<std::int32_t>(k * 2654435761u % 1200) - 300;
    }
    const DeviceCsr device(csr);
    DeviceArray<std::int32_t> shuffled(indices);
    CsrView view = device.view();
    view.indices = shuffled.data();
    const DeviceStats stats =
        stats_on_device(600, cuda::column_stats_csr_workspace(view),
                        [&](const StatsOutput& out, unsigned long long* counts, void* workspace) {
                            cuda::column_stats_csr(view, Transform{}.arguments(), out, counts, workspace, nullptr);
                        });
    CHECK(stats.taken < csr.n_stored());
    for (const std::int64_t count : stats.count) {
        CHECK_EQUAL(count, 40);
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes},
                {"dtypes", dtypes},
                {"uneven_rows", uneven_rows},
                {"tall", tall},
                {"hard_columns", hard_columns},
                {"infinite_values", infinite_values},
                {"bad_indices", bad_indices}});
}
