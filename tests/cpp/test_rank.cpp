// rank and top_k against std::stable_sort and counting, for any number of threads and both ways to sort.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "checks.hpp"
#include "pixfold/rank.hpp"

namespace pixfold::tests {
namespace {

// What top_k selects of positions in decreasing order: the first k, without the tied group that goes on beyond them.
std::vector<std::int64_t> selection(const std::vector<double>& values, std::vector<std::int64_t> order,
                                    std::int64_t k) {
    const auto at = [&](std::size_t i) { return values[static_cast<std::size_t>(order[i])]; };
    std::size_t end = std::min(static_cast<std::size_t>(k), order.size());
    if (order.empty() || at(0) == at(order.size() - 1)) {
        end = 0;
    }
    if (end < order.size()) {
        const double beyond = at(end);
        while (end > 0 && at(end - 1) == beyond) {
            --end;
        }
    }
    order.resize(end);
    return order;
}

void check_rank(const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    std::vector<std::int64_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
    });
    std::vector<double> sorted(values);
    std::sort(sorted.begin(), sorted.end());
    std::vector<double> expected;
    for (const double value : values) {
        const auto [low, high] = std::equal_range(sorted.begin(), sorted.end(), value);
        const auto above = static_cast<double>(sorted.end() - high);
        const auto equal = static_cast<double>(high - low);
        expected.push_back(above + (equal + 1.0) / 2.0);
    }
    for (const int threads : {1, 2, 7}) {
        const Survey found = survey(values.data(), n, threads);
        CHECK_EQUAL(found.first_nan, -1);
        for (const std::int64_t packed_up_to : {most_packed, std::int64_t{0}}) {
            context = text(n) + " values, " + text(threads) + " threads" + (packed_up_to > 0 ? "" : ", not packed");
            std::vector<double> ranks(values.size(), -1.0);
            average_ranks(values.data(), n, found, ranks.data(), threads, packed_up_to);
            CHECK(ranks == expected);
            for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, n / 100, n / 2, n - 1, n,
                                         std::numeric_limits<std::int64_t>::max()}) {
                if (k < 0 || (k < n / 2 && k > 2 && packed_up_to == 0)) {
                    continue;
                }
                std::vector<std::int64_t> selected(static_cast<std::size_t>(std::min(k, n)), -1);
                const std::int64_t size = top_k(values.data(), n, found, k, selected.data(), threads, packed_up_to);
                CHECK(size >= 0 && size <= std::min(k, n));
                selected.resize(static_cast<std::size_t>(size));
                CHECK(selected == selection(values, order, k));
            }
        }
    }
}

void small() {
    const double infinity = std::numeric_limits<double>::infinity();
    check_rank({});
    check_rank({3.0});
    check_rank({0.0, -0.0, 0.0, -0.0, 1.0, -1.0});  // one tie of four
    check_rank(
        {infinity, -infinity, 0.0, infinity, -infinity, DBL_MAX, -DBL_MAX, DBL_TRUE_MIN, -DBL_TRUE_MIN, DBL_MIN});
    for (const std::size_t n : {1, 2, 1000, 5000}) {
        check_rank(std::vector<double>(n, 0.25));
        check_rank(std::vector<double>(n, -0.0));
    }
}

// Around the smallest input that is counted instead of compared, and where parts of seven threads are empty.
void sizes() {
    std::mt19937_64 random(3);
    for (const std::size_t n : {3, 6, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2049}) {
        std::vector<double> values(n), tied(n);
        for (std::size_t i = 0; i < n; ++i) {
            values[i] = std::ldexp(static_cast<double>(random()), -64) - 0.5;
            tied[i] = static_cast<double>(random() % 5) - 2.0;
        }
        check_rank(values);
        check_rank(tied);
    }
}

// Numbers of every magnitude and sign, by their bits.
void any_bits() {
    std::mt19937_64 random(1);
    for (const std::size_t n : {std::size_t{2}, std::size_t{1000}, std::size_t{100000}}) {
        std::vector<double> values;
        while (values.size() < n) {
            const std::uint64_t bits = random();
            double value;
            std::memcpy(&value, &bits, sizeof(value));
            if (!std::isnan(value)) {
                values.push_back(value);
            }
        }
        check_rank(values);
        std::sort(values.begin(), values.end());
        check_rank(values);
        std::reverse(values.begin(), values.end());
        check_rank(values);
    }
}

void ties() {
    std::mt19937_64 random(2);
    for (const std::uint64_t distinct : {1, 2, 10, 1000}) {
        std::vector<double> values(100000);
        for (double& value : values) {
            value = (static_cast<double>(random() % distinct) - static_cast<double>(distinct / 2)) / 3.0;
        }
        check_rank(values);
    }
}

// One value far away makes all others equal in the bits that are sorted first: runs of several lengths that differ in
// the other bits only, below and above the length where they are counted instead of compared, across the parts.
void low_bits() {
    std::mt19937_64 random(4);
    for (const std::size_t n : {std::size_t{50}, std::size_t{3000}, std::size_t{100000}}) {
        for (const double far : {0.0, -1e300}) {
            for (const std::uint64_t distinct : {std::uint64_t{2}, std::uint64_t{1000}, std::uint64_t{1} << 31}) {
                std::vector<double> values;
                for (std::size_t i = 0; i < n; ++i) {
                    const double sign = far != 0.0 && i % 3 == 0 ? -1.0 : 1.0;
                    values.push_back(sign * (1.0 + 0x1p-52 * static_cast<double>(random() % distinct)));
                }
                values[n / 3] = far;
                values.back() = DBL_TRUE_MIN;
                check_rank(values);
            }
        }
    }
    std::vector<double> subnormal(3000);
    for (double& value : subnormal) {
        value = DBL_TRUE_MIN * (static_cast<double>(random() % 4096) - 2048.0);
    }
    check_rank(subnormal);
    subnormal[5] = std::numeric_limits<double>::infinity();
    check_rank(subnormal);
}

// float32 numbers, whose last 29 bits are zeros whatever the sign: nothing is left to sort by after the first bits.
void narrow() {
    std::mt19937_64 random(5);
    std::normal_distribution<double> normal;
    std::vector<double> values(20000);
    for (double& value : values) {
        value = static_cast<double>(static_cast<float>(normal(random)));
    }
    check_rank(values);
    for (double& value : values) {
        value = std::fabs(value) + 1.0;
    }
    check_rank(values);
}

void not_a_number() {
    for (const std::int64_t n : {1, 2, 15, 64, 1000}) {
        for (const int threads : {1, 2, 7}) {
            std::vector<double> values(static_cast<std::size_t>(n), 1.0);
            for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
                values.back() = std::numeric_limits<double>::quiet_NaN();  // the last one is not the first
                values[static_cast<std::size_t>(at)] = -std::numeric_limits<double>::quiet_NaN();
                context = text(n) + " values, NaN at " + text(at) + ", " + text(threads) + " threads";
                CHECK_EQUAL(survey(values.data(), n, threads).first_nan, at);
                values[static_cast<std::size_t>(at)] = 1.0;
            }
        }
    }
    CHECK_EQUAL(survey(nullptr, 0, 1).first_nan, -1);
}

// Values that differ in one bit only: it is the only one that is sorted by.
void single_digits() {
    for (int bit = 0; bit < 62; ++bit) {
        std::vector<double> values(64);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::uint64_t bits = 0x3ff0000000000000u ^ (static_cast<std::uint64_t>((i * 29) % 2) << bit);
            std::memcpy(&values[i], &bits, sizeof(bits));
        }
        if (std::none_of(values.begin(), values.end(), [](double value) { return std::isnan(value); })) {
            check_rank(values);
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"small", small},
                {"sizes", sizes},
                {"any_bits", any_bits},
                {"ties", ties},
                {"low_bits", low_bits},
                {"narrow", narrow},
                {"not_a_number", not_a_number},
                {"single_digits", single_digits}});
}
