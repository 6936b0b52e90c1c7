// The radix sort against std::stable_sort, and average ranks against counting.
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

void check_rank(const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    context = text(n) + " values";
    std::vector<std::int64_t> expected(values.size()), order(values.size(), -1);
    std::iota(expected.begin(), expected.end(), 0);
    std::stable_sort(expected.begin(), expected.end(), [&](std::int64_t a, std::int64_t b) {
        return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
    });
    sort_descending(values.data(), n, order.data());
    CHECK(order == expected);
    std::vector<double> ranks(values.size(), -1.0);
    average_ranks(values.data(), expected.data(), n, ranks.data());
    std::vector<double> sorted(values);
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto [low, high] = std::equal_range(sorted.begin(), sorted.end(), values[i]);
        const auto above = static_cast<double>(sorted.end() - high);
        const auto equal = static_cast<double>(high - low);
        CHECK_EQUAL(ranks[i], above + (equal + 1.0) / 2.0);
    }
}

void small() {
    const double infinity = std::numeric_limits<double>::infinity();
    check_rank({});
    check_rank({3.0});
    check_rank({0.0, -0.0, 0.0, -0.0, 1.0, -1.0});  // one tie of four
    check_rank(
        {infinity, -infinity, 0.0, infinity, -infinity, DBL_MAX, -DBL_MAX, DBL_TRUE_MIN, -DBL_TRUE_MIN, DBL_MIN});
    check_rank(std::vector<double>(1000, 0.25));
    check_rank(std::vector<double>(1000, -0.0));
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

// Keys that differ in one digit of the radix only: passes whose digit is the same everywhere are left out.
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
    return run({{"small", small}, {"any_bits", any_bits}, {"ties", ties}, {"single_digits", single_digits}});
}
