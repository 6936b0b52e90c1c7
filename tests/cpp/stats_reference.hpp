// Outputs of column_stats, what is done to the values first, and the statistics taken in two passes that both are held
// to.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "checks.hpp"
#include "matrices.hpp"
#include "pixfold/column_stats.hpp"

namespace pixfold::tests {

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
// k <= `block` values summed about the first of them holds squares of at most (k + 1) m2; summed about 0, which needs 8
// first values that spread over an eighth of their size, of at most 512 k m2 (reference.stats_bound derives it).
inline void check_stats(const Matrix& x, const Transform& t, const Stats& stats, std::int64_t block = stats_block) {
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
        const double k = std::fmin(n, static_cast<double>(block));
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

inline Transform make_transform(const Matrix& x, int step) {
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

}  // namespace pixfold::tests
