// rank and top_k against std::stable_sort and counting, for any number of threads and both ways to sort.
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "checks.hpp"
#include "importances.hpp"
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

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    constexpr std::size_t many = 100000;
    return run({{"small", [] { importances::small(check_rank); }},
                {"sizes", [] { importances::sizes(check_rank); }},
                {"any_bits", [] { importances::any_bits(check_rank, many); }},
                {"ties", [] { importances::ties(check_rank, many); }},
                {"low_bits", [] { importances::low_bits(check_rank, many); }},
                {"narrow", [] { importances::narrow(check_rank); }},
                {"not_a_number", not_a_number},
                {"single_digits", [] { importances::single_digits(check_rank); }}});
}
