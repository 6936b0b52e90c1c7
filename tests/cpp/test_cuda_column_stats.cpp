// column_stats of dense samples for CUDA, against sums taken in two passes and what the CPU counts.
#include <vector>

#include "cpu/dispatch.hpp"
#include "device_stats.hpp"
#include "pixfold/column_stats.hpp"

namespace pixfold::tests {
namespace {

Stats device_stats(const Dense& host, const Transform& t) {
    const DeviceDense x(host);
    DeviceTransform how(t);
    return stats_on_device(x.view().n_features, cuda::column_stats_dense_workspace(x.view()),
                           [&](const StatsOutput& out, unsigned long long* counts, void* workspace) {
                               cuda::column_stats_dense(x.view(), how.arguments(), out, counts, workspace, nullptr);
                           });
}

// Logarithms have the CPU's bits where it fuses multiplications and additions, too.
bool same_values(const Transform& t) { return !t.log || isa_in_use() != "baseline"; }

void check(const Matrix& x, const Transform& t, Storage storage) {
    context = std::string(name_of(x.dtype)) + ", " + text(x.n_samples) + " samples of " + text(x.n_features) +
              " features, storage " + text(static_cast<int>(storage)) + (t.log ? ", log" : "") +
              (t.offset.empty() ? "" : ", offset") + (t.row_scale.empty() ? "" : ", row scale");
    const Dense dense(x, storage);
    const Stats stats = device_stats(dense, t);
    check_stats(x, t, stats, cuda::device_stats_block);
    Stats cpu(x.n_features);
    cpu.counts = cpu::column_stats_dense(dense.view(), t.arguments(), cpu.output(), 1);
    CHECK(stats.count == cpu.count);
    CHECK(stats.missing == cpu.missing);
    CHECK(stats.zeros == cpu.zeros);
    CHECK_EQUAL(stats.counts.negative, cpu.counts.negative);
    CHECK_EQUAL(stats.counts.infinite, cpu.counts.infinite);
    if (same_values(t)) {
        for (std::size_t j = 0; j < cpu.min.size(); ++j) {
            CHECK_NEAR(stats.min[j], cpu.min[j], 0.0);
            CHECK_NEAR(stats.max[j], cpu.max[j], 0.0);
        }
    }
}

// Around a step of samples (8), a block of them (512) and the features of a warp (32) and a block of threads (256).
void sizes() {
    int step = 0;
    for (const std::int64_t n_features : {1, 2, 3, 4, 5, 15, 17, 31, 32, 33, 64, 255, 257, 1025}) {
        for (const std::int64_t n_samples : {0, 1, 2, 7, 8, 9, 511, 512, 513, 1100}) {
            if (n_features > 40 && n_samples > 9 && n_samples != 513) {
                continue;
            }
            for (int repeat = 0; repeat < 3; ++repeat, ++step) {
                const DType dtype = all_dtypes[(step * 5) % n_dtypes];
                const Matrix x = make_matrix(dtype, n_samples, n_features, static_cast<std::uint64_t>(step), true);
                // The last storage, elements at any address, is refused for CUDA.
                check(x, make_transform(x, step), static_cast<Storage>(step % (n_storages - 1)));
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
            check(x, t, static_cast<Storage>((d + step) % (n_storages - 1)));
        }
    }
}

// Both an offset and a row scale.
void offset_and_row_scale() {
    const Matrix x = make_matrix(DType::f32, 150, 30, 1, true);
    Transform t = make_transform(x, 0);
    t.row_scale = make_transform(x, 1).row_scale;
    check(x, t, Storage::packed);
}

// Whatever the strides, the same bits.
void storages() {
    for (int d = 0; d < n_dtypes; ++d) {
        const Matrix x = make_matrix(all_dtypes[d], 530, 20, 6, true, true);
        const Stats first = device_stats(Dense(x, Storage::packed), Transform{});
        for (int storage = 1; storage < n_storages - 1; ++storage) {
            context = std::string(name_of(x.dtype)) + ", storage " + text(storage);
            CHECK(device_stats(Dense(x, static_cast<Storage>(storage)), Transform{}) == first);
        }
    }
}

#ifdef PIXFOLD_SIMT_SHIM
// However many blocks there are, the same bits.
void grids() {
    const std::int64_t most = cuda::simt::most_blocks;
    for (const DType dtype : {DType::f32, DType::u8, DType::f64}) {
        const Matrix x = make_matrix(dtype, 1300, 530, 9, true, true);
        const Dense dense(x, Storage::packed);
        const Stats whole = device_stats(dense, Transform{});
        for (const std::int64_t blocks : {1, 2, 5}) {
            context = std::string(name_of(dtype)) + ", " + text(blocks) + " blocks";
            cuda::simt::most_blocks = blocks;
            CHECK(device_stats(dense, Transform{}) == whole);
        }
        cuda::simt::most_blocks = most;
    }
}
#endif

// A feature without values, a constant one whose square loses every digit, one far from 0 with a small spread, and the
// last two again with nothing in the samples that choose a pivot.
void hard_columns() {
    Matrix x{DType::f64, 700, 5, {}};
    for (int i = 0; i < 700; ++i) {
        const double constant = 1e8 + 0.1;
        const double close = 1e9 + (i % 2 == 0 ? 0.5 : -0.5);
        x.values.insert(x.values.end(), {nan, constant, close, i < 20 ? nan : constant, i < 20 ? nan : close});
    }
    check(x, Transform{}, Storage::packed);
    const Stats stats = device_stats(Dense(x, Storage::packed), Transform{});
    CHECK_EQUAL(stats.m2[1], 0.0);
    CHECK_EQUAL(stats.m2[2], 175.0);  // 700 squares of 1/2; about a pivot every step is exact
    CHECK_EQUAL(stats.m2[3], 0.0);
    CHECK_EQUAL(stats.m2[4], 170.0);
}

// More blocks than are merged at a time (16), and more of those than that.
void tall() {
    for (const DType dtype : {DType::f32, DType::f64, DType::u8}) {
        const Matrix x = make_matrix(dtype, 2 * 16 * cuda::device_stats_block + 77, 3, 5, true, true);
        check(x, Transform{}, Storage::packed);
        check(x, make_transform(x, 1), Storage::fortran);
    }
    check(make_matrix(DType::i8, 16 * 16 * cuda::device_stats_block + 1, 1, 7), Transform{}, Storage::packed);
}

// Parts that are merged in between: blocks that hold no value at all do nothing.
void empty_blocks() {
    Matrix x = make_matrix(DType::f32, 4 * cuda::device_stats_block, 6, 3, true);
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        const std::int64_t block = i / cuda::device_stats_block;
        for (std::int64_t j = 0; j < 6; ++j) {
            if (block == j || (j == 4 && block != 2) || j == 5) {
                x.values[static_cast<std::size_t>(i * 6 + j)] = nan;
            }
        }
    }
    check(x, Transform{}, Storage::packed);
}

void infinite_values() {
    Matrix x = make_matrix(DType::f32, 20, 5, 2);
    x.values[3] = infinity;
    x.values[50] = -infinity;
    const Stats stats = device_stats(Dense(x, Storage::packed), Transform{});
    CHECK_EQUAL(stats.counts.infinite, 2);
    CHECK_EQUAL(stats.counts.negative, 1);
    CHECK_EQUAL(stats.max[3], infinity);
    CHECK_EQUAL(stats.min[0], -infinity);
    CHECK(!std::isfinite(stats.mean[3]) && !std::isfinite(stats.m2[3]));
    CHECK(!std::isfinite(stats.mean[0]) && !std::isfinite(stats.m2[0]));
    CHECK(std::isfinite(stats.mean[1]) && std::isfinite(stats.m2[1]));
}

// The logarithm of a value below -1 is there, and no number.
void logarithms_of_nothing() {
    Matrix x = make_matrix(DType::f32, 30, 3, 2);
    x.values[3 * 20 + 1] = -2.0;
    for (int i = 0; i < 30; ++i) {
        x.values[static_cast<std::size_t>(3 * i + 2)] = -3.0;
    }
    Transform t;
    t.log = true;
    const Stats stats = device_stats(Dense(x, Storage::packed), t);
    CHECK_EQUAL(stats.count[1], 30);
    CHECK_EQUAL(stats.missing[1], 0);
    CHECK(std::isnan(stats.mean[1]) && std::isnan(stats.m2[1]));
    CHECK_NEAR(stats.min[1], device_stats(Dense(make_matrix(DType::f32, 30, 3, 2), Storage::packed), t).min[1], 0.0);
    CHECK_EQUAL(stats.count[2], 30);
    CHECK(std::isnan(stats.mean[2]) && std::isnan(stats.m2[2]));
    CHECK_EQUAL(stats.counts.negative, 31);
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes},
                {"dtypes", dtypes},
                {"offset_and_row_scale", offset_and_row_scale},
                {"storages", storages},
#ifdef PIXFOLD_SIMT_SHIM
                {"grids", grids},
#endif
                {"hard_columns", hard_columns},
                {"tall", tall},
                {"empty_blocks", empty_blocks},
                {"infinite_values", infinite_values},
                {"logarithms_of_nothing", logarithms_of_nothing}});
}
