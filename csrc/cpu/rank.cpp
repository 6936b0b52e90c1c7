#include "pixfold/rank.hpp"

#include <array>
#include <bit>
#include <utility>
#include <vector>

namespace pixfold {
namespace {

struct Item {
    std::uint64_t key;
    std::int64_t position;
};

// Unsigned keys whose increasing order is the decreasing order of the values.
std::uint64_t descending_key(double value) {
    const std::uint64_t bits = std::bit_cast<std::uint64_t>(value + 0.0);  // + 0.0 turns -0.0 into 0.0
    const std::uint64_t sign = std::uint64_t{1} << 63;
    return (bits & sign) != 0 ? bits : ~(bits | sign);
}

}  // namespace

void sort_descending(const double* values, std::int64_t n, std::int64_t* order) {
    constexpr int n_bits = 11;
    constexpr int n_passes = 6;
    constexpr std::uint64_t n_buckets = std::uint64_t{1} << n_bits;
    std::vector<Item> items(static_cast<std::size_t>(n));
    std::vector<Item> other(static_cast<std::size_t>(n));
    std::vector<std::array<std::int64_t, n_buckets>> histograms(n_passes);
    for (std::int64_t i = 0; i < n; ++i) {
        const std::uint64_t key = descending_key(values[i]);
        items[static_cast<std::size_t>(i)] = {key, i};
        for (int pass = 0; pass < n_passes; ++pass) {
            ++histograms[static_cast<std::size_t>(pass)][(key >> (pass * n_bits)) & (n_buckets - 1)];
        }
    }
    for (int pass = 0; pass < n_passes; ++pass) {
        auto& starts = histograms[static_cast<std::size_t>(pass)];
        bool constant = false;
        std::int64_t total = 0;
        for (std::int64_t& start : starts) {
            constant = constant || start == n;
            total += std::exchange(start, total);
        }
        if (constant) {
            continue;  // every key has the same digit: nothing moves
        }
        for (const Item& item : items) {
            other[static_cast<std::size_t>(starts[(item.key >> (pass * n_bits)) & (n_buckets - 1)]++)] = item;
        }
        items.swap(other);
    }
    for (std::int64_t i = 0; i < n; ++i) {
        order[i] = items[static_cast<std::size_t>(i)].position;
    }
}

void average_ranks(const double* values, const std::int64_t* order, std::int64_t n, double* ranks) {
    for (std::int64_t first = 0; first < n;) {
        std::int64_t end = first + 1;
        while (end < n && values[order[end]] == values[order[first]]) {
            ++end;
        }
        const double rank = 0.5 * static_cast<double>(first + 1 + end);
        for (; first < end; ++first) {
            ranks[order[first]] = rank;
        }
    }
}

}  // namespace pixfold
