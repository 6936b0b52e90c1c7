// column_stats and row sums, dense and sparse, against sums taken in two passes.
#include <vector>

#include "checks.hpp"
#include "matrices.hpp"
#include "pixfold/dispatch.hpp"

namespace pixfold::tests {
namespace {

// Outputs of exactly their size, filled with rubbish.
struct Stats {
    std::vector<std::int64_t> count, missing, zeros;
    std::vector<double> min, max, mean, m2;
    StatsCounts counts;

    explicit Stats(std::int64_t n)
        : count(static_cast<std::size_t>(n), -1),
          missing(count),
          zeros(count),
          min(count.size(), -7.0),
          max(min),
          mean(min),
          m2(min) {}
    StatsOutput output() {
        return {count.data(), missing.data(), zeros.data(), min.data(), max.data(), mean.data(), m2.data()};
    }
    bool operator==(const Stats& other) const {
        const auto same = [](const std::vector<double>& a, const std::vector<double>& b) {
            return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 8) == 0);
        };
        return count == other.count && missing == other.missing && zeros == other.zeros && same(min, other.min) &&
               same(max, other.max) && same(mean, other.mean) && same(m2, other.m2) &&
               counts.negative == other.counts.negative && counts.infinite == other.counts.infinite;
    }
};

struct Transform {
    bool log = false;
    bool clip_below_zero = false;
    std::vector<double> offset;     // empty: none
    std::vector<double> row_scale;  // empty: none

    StatsArguments arguments() const {
        return {log, clip_below_zero, offset.empty() ? nullptr : offset.data(),
                row_scale.empty() ? nullptr : row_scale.data()};
    }
};

// e bounds the error of one value: the kernel rounds the sum, the factor, the product and (to 2 ulp = 4 u) the
// logarithm in its precision. min, max and mean then move by at most e, and m2 by 2 e sum |v - mean| + n e^2, where
// sum |v - mean| <= sqrt(n m2). Sums are double: n additions add n roundoffs of the largest partial sum. A block of
// k <= 128 values summed about the first of them holds squares of at most (k + 1) m2; summed about 0, which needs 8
// first values that spread over an eighth of their size, of at most 512 k m2 (reference.stats_bound derives it).
void check_stats(const Matrix& x, const Transform& t, const Stats& stats) {
    const double u = compute_precision(x.dtype).roundoff;
    const double tiny = compute_precision(x.dtype).tiny;
    std::int64_t all_negative = 0;
    std::int64_t all_infinite = 0;
    for (std::int64_t j = 0; j < x.n_features; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double offset = t.offset.empty() ? 0.0 : t.offset[at];
        std::vector<long double> values;
        std::int64_t missing = 0;
        std::int64_t zeros = 0;
        double e = 0.0;
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const double element = x.at(i, j);
            missing += std::isnan(element) ? 1 : 0;
            zeros += element == 0.0 ? 1 : 0;
            all_negative += element + offset < 0.0 ? 1 : 0;
            all_infinite += std::isinf(element) ? 1 : 0;
            if (std::isnan(element)) {
                continue;
            }
            const double factor = t.row_scale.empty() ? 1.0 : t.row_scale[static_cast<std::size_t>(i)];
            const long double lifted = static_cast<long double>(element) + static_cast<long double>(offset);
            long double v = lifted * static_cast<long double>(factor);
            double error = offset != 0.0 ? u * static_cast<double>(std::fabs(lifted)) * std::fabs(factor) : 0.0;
            error += factor != 1.0 ? 2.0 * u * static_cast<double>(std::fabs(v)) + tiny : 0.0;
            v = t.clip_below_zero && v < 0.0L ? 0.0L : v;
            if (t.log) {
                error /= 1.0 + std::fmax(static_cast<double>(v) - error, -0.5);
                v = std::log1p(v);
                error += 4.0 * u * static_cast<double>(std::fabs(v)) + tiny;
            }
            e = std::fmax(e, 2.0 * error);  // 2: the reference may be no wider than double
            values.push_back(v);
        }
        CHECK_EQUAL(stats.count[at], static_cast<std::int64_t>(values.size()));
        CHECK_EQUAL(stats.missing[at], missing);
        CHECK_EQUAL(stats.zeros[at], zeros);
        if (values.empty()) {
            CHECK(std::isnan(stats.min[at]) && std::isnan(stats.max[at]) && std::isnan(stats.mean[at]));
            CHECK_EQUAL(stats.m2[at], 0.0);
            continue;
        }
        long double sum = 0.0L;
        for (const long double v : values) {
            sum += v;
        }
        const auto n = static_cast<double>(values.size());
        const long double mean = sum / static_cast<long double>(n);
        long double m2 = 0.0L;
        for (const long double v : values) {
            m2 += (v - mean) * (v - mean);
        }
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        const auto size = static_cast<double>(std::fmax(std::fabs(*low), std::fabs(*high)));
        const auto squares = static_cast<double>(m2);
        const double k = std::fmin(n, 128.0);
        const double rounding = (1024.0 * (k + 2.0) * (k + 2.0) + 4.0 * (n + 2.0) * (n + 2.0)) * 0x1p-53;
        const double mean_bound = e + (n + 2.0) * 0x1p-53 * (size + e);
        CHECK_NEAR(stats.min[at], static_cast<double>(*low), e);
        CHECK_NEAR(stats.max[at], static_cast<double>(*high), e);
        CHECK_NEAR(stats.mean[at], static_cast<double>(mean), mean_bound);
        CHECK_NEAR(stats.m2[at], squares,
                   2.0 * mean_bound * std::sqrt(n * squares) + n * mean_bound * mean_bound + rounding * squares);
    }
    CHECK_EQUAL(stats.counts.negative, all_negative);
    CHECK_EQUAL(stats.counts.infinite, all_infinite);
}

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
        return kernels().column_stats_dense(dense.view(), t.arguments(), stats.output(), threads);
    });
}

void check_csr(const Matrix& x, const Transform& t, bool wide) {
    const Csr csr(x, wide);
    check_all(x, t, wide ? "wide csr" : "csr", [&](Stats& stats, int threads) {
        return kernels().column_stats_csr(csr.view(), t.arguments(), stats.output(), threads);
    });
}

Transform make_transform(const Matrix& x, int step) {
    Transform t;
    t.log = step % 2 == 0;
    if (step % 3 == 0) {
        for (std::int64_t j = 0; j < x.n_features; ++j) {
            t.offset.push_back(j % 3 == 0 ? 0.0 : 0.25 * static_cast<double>(j % 50));
        }
    } else if (step % 3 == 1) {
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            t.row_scale.push_back(i % 7 == 6 ? 0.0 : 0.5 + 0.3 * static_cast<double>(i % 11));
        }
    }
    return t;
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
    kernels().column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), 1);
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
            first.counts = kernels().column_stats_dense(packed.view(), Transform{}.arguments(), first.output(), 1);
            for (int storage = 0; storage < n_storages; ++storage) {
                context = isa + " " + name_of(x.dtype) + ", storage " + text(storage);
                const Dense dense(x, static_cast<Storage>(storage));
                Stats stats(x.n_features);
                stats.counts = kernels().column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), 2);
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
        CHECK_EQUAL(kernels().column_stats_dense(dense.view(), Transform{}.arguments(), stats.output(), 1).infinite, 2);
        CHECK_EQUAL(kernels().column_stats_csr(csr.view(), Transform{}.arguments(), stats.output(), 2).infinite, 2);
    }
}

// In double, in an order of their own: n additions of the largest number that there is.
void row_sums() {
    for (int d = 0; d < n_dtypes; ++d) {
        for (const std::int64_t n_features : {1, 33, 1000}) {
            const Matrix x = make_matrix(all_dtypes[d], 13, n_features, 3, true, true);
            for (int storage = 0; storage < n_storages; ++storage) {
                const Dense dense(x, static_cast<Storage>(storage));
                const Csr csr(x, storage % 2 == 0);
                for (const std::string& isa : available_isas()) {
                    set_isa(isa);
                    std::vector<double> sums(13, -7.0), sparse(13, -7.0);
                    kernels().row_sums_dense(dense.view(), sums.data(), 2);
                    kernels().row_sums_csr(csr.view(), sparse.data(), 2);
                    for (std::int64_t i = 0; i < 13; ++i) {
                        long double expected = 0.0L;
                        double size = 0.0;
                        for (std::int64_t j = 0; j < n_features; ++j) {
                            const double value = std::isnan(x.at(i, j)) ? 0.0 : x.at(i, j);
                            expected += static_cast<long double>(value);
                            size += std::fabs(value);
                        }
                        const double bound = static_cast<double>(n_features + 1) * 0x1p-53 * size;
                        CHECK_NEAR(sums[static_cast<std::size_t>(i)], static_cast<double>(expected), bound);
                        CHECK_NEAR(sparse[static_cast<std::size_t>(i)], static_cast<double>(expected), bound);
                    }
                }
            }
        }
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
                {"infinite_values", infinite_values},
                {"row_sums", row_sums}});
}
