// What CUB does for cuda/sort.hpp, on the host. The result changes place with every 8 bits, as CUB's does, and the
// place that it left holds nothing.
#include "sort.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

namespace pixfold::cuda {

std::int64_t sort_scratch_bytes(std::int64_t) { return 1; }

Pairs sort_pairs(Pairs pairs, Pairs others, std::int64_t n, int first_bit, int end_bit, void* scratch, std::int64_t,
                 void*) {
    std::memset(scratch, 0xcd, 1);
    const auto key = [&](const std::pair<std::uint64_t, std::uint32_t>& pair) {
        const std::uint64_t upper = pair.first >> first_bit;
        const int bits = end_bit - first_bit;
        return bits < 64 ? upper & ((std::uint64_t{1} << bits) - 1) : upper;
    };
    std::vector<std::pair<std::uint64_t, std::uint32_t>> sorted;
    for (std::int64_t i = 0; i < n; ++i) {
        sorted.emplace_back(pairs.keys[i], pairs.positions[i]);
    }
    if (end_bit > first_bit) {
        std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
    }
    if ((end_bit - first_bit + 7) / 8 % 2 == 1) {
        std::swap(pairs, others);
    }
    for (std::int64_t i = 0; i < n; ++i) {
        std::tie(pairs.keys[i], pairs.positions[i]) = sorted[static_cast<std::size_t>(i)];
        others.keys[i] = 0xcdcdcdcdcdcdcdcd;
        others.positions[i] = 0xcdcdcdcd;
    }
    return pairs;
}

}  // namespace pixfold::cuda
