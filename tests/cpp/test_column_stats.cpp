// column_stats, dense and sparse, against sums taken in two passes. A device counts what the CPU counts.
#include <vector>

#include "device_stats.hpp"
#include "pixfold/column_stats.hpp"
#include "sides.hpp"

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

DeviceStats device_dense(const Dense& host, const Transform& t) {
    const DeviceDense x(host);
    DeviceTransform how(t);
    return stats_on_device(x.view().n_features, cuda::column_stats_dense_workspace(x.view()),
                           [&](const StatsOutput& out, unsigned long long* counts, void* workspace) {
                               cuda::column_stats_dense(x.view(), how.arguments(), out, counts, workspace, nullptr);
                           });
}

DeviceStats device_csr(const Csr& host, const Transform& t) {
    const DeviceCsr x(host);
    DeviceTransform how(t);
    return stats_on_device(x.view().n_features, cuda::column_stats_csr_workspace(x.view()),
                           [&](const StatsOutput& out, unsigned long long* counts, void* workspace) {
                               cuda::column_stats_csr(x.view(), how.arguments(), out, counts, workspace, nullptr);
                           });
}

// `block`: the samples of a block of the kernel.
void check_device(const Matrix& x, const Transform& t, const std::string& what, const DeviceStats& stats,
                  std::int64_t block, const Stats& cpu) {
    context = "device, " + what + " " + name_of(x.dtype) + ", " + text(x.n_samples) + " samples of " +
              text(x.n_features) + " features" + (t.log ? ", log" : "") + (t.offset.empty() ? "" : ", offset") +
              (t.row_scale.empty() ? "" : ", row scale");
    check_stats(x, t, stats, block);
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

void check_dense(const Matrix& x, const Transform& t, Storage storage, const std::vector<Side>& where = sides()) {
    const std::string what = "dense, storage " + text(static_cast<int>(storage));
    for (const Side side : where) {
        // Elements at any address are refused for CUDA.
        const bool moved = side == Side::device && storage == Storage::unaligned;
        const Dense dense(x, moved ? Storage::packed : storage);
        const auto kernel = [&](Stats& stats, int threads) {
            return cpu::column_stats_dense(dense.view(), t.arguments(), stats.output(), threads);
        };
        if (side == Side::cpu) {
            check_all(x, t, what, kernel);
        } else {
            Stats cpu(x.n_features);
            cpu.counts = kernel(cpu, 1);
            check_device(x, t, what, device_dense(dense, t), cuda::device_stats_block, cpu);
        }
    }
}

void check_csr(const Matrix& x, const Transform& t, bool wide, const std::vector<Side>& where = sides()) {
    const std::string what = wide ? "wide csr" : "csr";
    const Csr csr(x, wide);
    const auto kernel = [&](Stats& stats, int threads) {
        return cpu::column_stats_csr(csr.view(), t.arguments(), stats.output(), threads);
    };
    for (const Side side : where) {
        if (side == Side::cpu) {
            check_all(x, t, what, kernel);
        } else {
            Stats cpu(x.n_features);
            cpu.counts = kernel(cpu, 1);
            const DeviceStats stats = device_csr(csr, t);
            check_device(x, t, what, stats, 8192, cpu);  // rows of the largest block
            CHECK_EQUAL(stats.taken, csr.n_stored());
        }
    }
}

// Numbers of features and samples; of many features, all of `few` samples and one number more.
template <class Check>
void each_size(std::initializer_list<std::int64_t> features, std::initializer_list<std::int64_t> samples,
               std::int64_t many, std::int64_t few, std::int64_t more, Check&& check) {
    int step = 0;
    for (const std::int64_t n_features : features) {
        for (const std::int64_t n_samples : samples) {
            if (n_features > many && n_samples > few && n_samples != more) {
                continue;
            }
            for (int repeat = 0; repeat < 3; ++repeat, ++step) {
                const DType dtype = all_dtypes[(step * 5) % n_dtypes];
                const Matrix x = make_matrix(dtype, n_samples, n_features, static_cast<std::uint64_t>(step), true);
                check(x, make_transform(x, step), step);
            }
        }
    }
}

// Around a block of samples (128), and of features (256 and 512).
void cpu_sizes() {
    each_size({1, 2, 15, 17, 64, 511, 512, 513, 1025}, {0, 1, 2, 3, 127, 128, 129, 300}, 100, 3, 129,
              [](const Matrix& x, const Transform& t, int step) {
                  check_dense(x, t, static_cast<Storage>(step % n_storages), {Side::cpu});
                  check_csr(x, t, step % 2 == 0, {Side::cpu});
              });
}

// Dense: around a step of samples (8), a block of them (512) and the features of a warp (32) and a block of threads
// (256). Sparse: around a warp (32), a tile of features (512), the rows that are looked up together (32) and a block of
// them (128).
void device_sizes() {
    each_size({1, 2, 3, 4, 5, 15, 17, 31, 32, 33, 64, 255, 257, 1025}, {0, 1, 2, 7, 8, 9, 511, 512, 513, 1100}, 40, 9,
              513, [](const Matrix& x, const Transform& t, int step) {
                  check_dense(x, t, static_cast<Storage>(step % (n_storages - 1)), {Side::device});
              });
    each_size({1, 2, 31, 32, 33, 64, 511, 512, 513, 1025}, {0, 1, 2, 7, 8, 9, 31, 32, 33, 127, 128, 129, 300}, 100, 9,
              129,
              [](const Matrix& x, const Transform& t, int step) { check_csr(x, t, step % 2 == 0, {Side::device}); });
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

// The statistics of a side, without a transform.
template <class On>
void on_each(const Matrix& x, On&& on) {
    const Dense dense(x, Storage::packed);
    const Csr csr(x, false);
    for (const Side side : sides()) {
        context = side == Side::cpu ? "cpu" : "device";
        if (side == Side::device) {
            on(device_dense(dense, Transform{}));
            on(device_csr(csr, Transform{}));
            continue;
        }
        on_cpu({1, 2}, [&](int threads) {
            Stats found(x.n_features), sparse(x.n_features);
            found.counts = cpu::column_stats_dense(dense.view(), Transform{}.arguments(), found.output(), threads);
            sparse.counts = cpu::column_stats_csr(csr.view(), Transform{}.arguments(), sparse.output(), threads);
            on(found);
            on(sparse);
        });
    }
}

// A feature without values, a constant one whose square loses every digit, one far from 0 with a small spread, and the
// last two again with nothing in the samples that choose a pivot.
void hard_columns() {
    Matrix x{DType::f64, 700, 5, {}};
    for (int i = 0; i < 700; ++i) {
        const double constant = 1e8 + 0.1;
        const double close = 1e9 + (i % 2 == 0 ? 0.5 : -0.5);
        x.values.insert(x.values.end(), {nan, constant, close, i < 20 ? nan : constant, i < 20 ? nan : close});
    }
    check_dense(x, Transform{}, Storage::packed);
    check_csr(x, Transform{}, false);
    on_each(x, [](const Stats& stats) {
        CHECK_EQUAL(stats.m2[1], 0.0);
        CHECK_EQUAL(stats.m2[2], 175.0);  // 700 squares of 1/2; about a pivot every step is exact
        CHECK_EQUAL(stats.m2[3], 0.0);
        CHECK_EQUAL(stats.m2[4], 170.0);
    });
}

// On the CPU more samples than a segment (8,192) holds, so that threads share the samples of a few features. On a
// device more blocks than are merged at a time (16), and more of those than that.
void tall() {
    constexpr std::int64_t dense = 2 * 16 * cuda::device_stats_block + 77;
    for (const DType dtype : {DType::f32, DType::f64, DType::u8}) {
        for (const Side side : sides()) {
            const std::int64_t n = side == Side::cpu ? 2 * stats_segment + 77 : dense;
            const Matrix x = make_matrix(dtype, n, 3, 5, true, true);
            check_dense(x, Transform{}, Storage::packed, {side});
            check_dense(x, make_transform(x, 1), Storage::fortran, {side});
            const Matrix y = side == Side::cpu ? x : make_matrix(dtype, 40 * 128 + 77, 3, 5, true, true);
            check_csr(y, Transform{}, false, {side});
            Transform t = make_transform(y, 2);
            t.clip_below_zero = true;
            check_csr(y, t, true, {side});
        }
    }
    if (sides().back() == Side::device) {
        const Matrix x = make_matrix(DType::i8, 16 * 16 * cuda::device_stats_block + 1, 1, 7);
        check_dense(x, Transform{}, Storage::packed, {Side::device});
    }
}

// Whatever the strides, the bits of packed samples.
void storages() {
    for (int d = 0; d < n_dtypes; ++d) {
        for (const Side side : sides()) {
            const Matrix x = side == Side::cpu ? make_matrix(all_dtypes[d], 150, 300, 6, true, true)
                                               : make_matrix(all_dtypes[d], 530, 20, 6, true, true);
            const Dense packed(x, Storage::packed);
            for (int storage = 1; storage < n_storages; ++storage) {
                context = std::string(name_of(x.dtype)) + ", storage " + text(storage);
                const Dense dense(x, static_cast<Storage>(storage));
                if (side == Side::cpu) {
                    on_cpu({2}, [&](int threads) {
                        Stats first(x.n_features), stats(x.n_features);
                        first.counts =
                            cpu::column_stats_dense(packed.view(), Transform{}.arguments(), first.output(), 1);
                        stats.counts =
                            cpu::column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), threads);
                        CHECK(stats == first);
                    });
                } else if (static_cast<Storage>(storage) != Storage::unaligned) {
                    CHECK(device_dense(dense, Transform{}) == device_dense(packed, Transform{}));
                }
            }
        }
    }
}

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Floats side by side have a kernel of their own: the bits of those that are not, whatever the values.
void floats() {
    int step = 0;
    for (const std::int64_t n_samples : {0, 1, 7, 8, 9, 16, 23, 512, 519, 1100}) {
        for (const std::int64_t n_features : {1, 70, 300}) {
            if (n_samples > 100 && n_features > 70) {
                continue;
            }
            for (int how = 0; how < 12; ++how, ++step) {
                // Numbers like measured ones; of all kinds; a few of all kinds among others.
                Matrix x = make_matrix(DType::f32, n_samples, n_features, static_cast<std::uint64_t>(step),
                                       how % 3 == 1, how % 3 == 1);
                const double kinds[] = {nan, infinity, -infinity, -0.0, -0.5, -3.0, 0x1p-140, 0x1p120};
                for (std::size_t e = 13; how % 3 == 2 && e < x.values.size(); e += 41) {
                    x.values[e] = kinds[e % 8];
                }
                Transform t;
                t.log = how >= 6;
                t.clip_below_zero = how >= 9;
                if (how / 3 % 2 == 1) {
                    t.offset = make_transform(x, 0).offset;
                    t.offset.resize(static_cast<std::size_t>(n_features), 0.25);
                }
                context = text(n_samples) + " x " + text(n_features) + ", " + text(how);
                const DeviceStats own = device_dense(Dense(x, Storage::packed), t);
                const DeviceStats other = device_dense(Dense(x, Storage::fortran), t);
                CHECK(own.count == other.count && own.missing == other.missing && own.zeros == other.zeros);
                CHECK_EQUAL(own.counts.negative, other.counts.negative);
                CHECK_EQUAL(own.counts.infinite, other.counts.infinite);
                for (std::size_t j = 0; j < own.mean.size(); ++j) {
                    CHECK(same_number(own.min[j], other.min[j]) && same_number(own.max[j], other.max[j]));
                    CHECK(same_number(own.mean[j], other.mean[j]) && same_number(own.m2[j], other.m2[j]));
                }
            }
        }
    }
}

void infinite_values() {
    Matrix x = make_matrix(DType::f32, 20, 5, 2);
    x.values[3] = infinity;
    x.values[50] = -infinity;
    on_each(x, [](const Stats& stats) {
        CHECK_EQUAL(stats.counts.infinite, 2);
        CHECK_EQUAL(stats.counts.negative, 1);
        CHECK_EQUAL(stats.max[3], infinity);
        CHECK_EQUAL(stats.min[0], -infinity);
        CHECK(!std::isfinite(stats.mean[3]) && !std::isfinite(stats.m2[3]));
        CHECK(!std::isfinite(stats.mean[0]) && !std::isfinite(stats.m2[0]));
        CHECK(std::isfinite(stats.mean[1]) && std::isfinite(stats.m2[1]));
    });
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
    check_dense(x, Transform{}, Storage::packed);
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
    check_csr(x, Transform{}, false);
    check_csr(x, make_transform(x, 1), true);
}

#ifdef PIXFOLD_SIMT_SHIM
// However many blocks there are, the same bits.
void grids() {
    const std::int64_t most = cuda::simt::most_blocks;
    for (const DType dtype : {DType::f32, DType::u8, DType::f64}) {
        const Matrix x = make_matrix(dtype, 1300, 530, 9, true, true);
        const Dense dense(x, Storage::packed);
        const Stats whole = device_dense(dense, Transform{});
        for (const std::int64_t blocks : {1, 2, 5}) {
            context = std::string(name_of(dtype)) + ", " + text(blocks) + " blocks";
            cuda::simt::most_blocks = blocks;
            CHECK(device_dense(dense, Transform{}) == whole);
        }
        cuda::simt::most_blocks = most;
    }
}
#endif

// The logarithm of a value below -1 is there, and no number.
void logarithms_of_nothing() {
    Matrix x = make_matrix(DType::f32, 30, 3, 2);
    x.values[3 * 20 + 1] = -2.0;
    for (int i = 0; i < 30; ++i) {
        x.values[static_cast<std::size_t>(3 * i + 2)] = -3.0;
    }
    Transform t;
    t.log = true;
    const Stats stats = device_dense(Dense(x, Storage::packed), t);
    CHECK_EQUAL(stats.count[1], 30);
    CHECK_EQUAL(stats.missing[1], 0);
    CHECK(std::isnan(stats.mean[1]) && std::isnan(stats.m2[1]));
    CHECK_NEAR(stats.min[1], device_dense(Dense(make_matrix(DType::f32, 30, 3, 2), Storage::packed), t).min[1], 0.0);
    CHECK_EQUAL(stats.count[2], 30);
    CHECK(std::isnan(stats.mean[2]) && std::isnan(stats.m2[2]));
    CHECK_EQUAL(stats.counts.negative, 31);
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
    return run({{"cpu_sizes", only(Side::cpu, cpu_sizes)},
                {"device_sizes", only(Side::device, device_sizes)},
                {"dtypes", dtypes},
                {"offset_and_row_scale", offset_and_row_scale},
                {"hard_columns", hard_columns},
                {"tall", tall},
                {"storages", storages},
                {"floats", only(Side::device, floats)},
                {"infinite_values", infinite_values},
                {"empty_blocks", empty_blocks},
                {"uneven_rows", uneven_rows},
#ifdef PIXFOLD_SIMT_SHIM
                {"grids", only(Side::device, grids)},
#endif
                {"logarithms_of_nothing", only(Side::device, logarithms_of_nothing)},
                {"bad_indices", only(Side::device, bad_indices)}});
}
