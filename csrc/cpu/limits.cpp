#include "pixfold/limits.hpp"

#include <algorithm>
#include <cstring>

namespace pixfold {
namespace {

// The part of n bytes that belongs to one of `threads` equal shares, in whole cache lines.
struct Share {
    std::int64_t first;
    std::int64_t size;
};

Share share_of(std::int64_t n, int part, int threads) {
    constexpr std::int64_t line = 64;
    const std::int64_t lines = (n + line - 1) / line;
    const std::int64_t first = lines * part / threads * line;
    const std::int64_t end = std::min(n, lines * (part + 1) / threads * line);
    return {first, std::max<std::int64_t>(0, end - first)};
}

}  // namespace

void copy_bytes(void* to, const void* from, std::int64_t n, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
        const Share s = share_of(n, part, threads);
        std::memcpy(static_cast<char*>(to) + s.first, static_cast<const char*>(from) + s.first,
                    static_cast<std::size_t>(s.size));
    }
}

void fill_bytes(void* to, int value, std::int64_t n, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
        const Share s = share_of(n, part, threads);
        std::memset(static_cast<char*>(to) + s.first, value, static_cast<std::size_t>(s.size));
    }
}

std::uint64_t read_bytes(const void* from, std::int64_t n, int threads) {
    std::uint64_t total = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : total)
    for (int part = 0; part < threads; ++part) {
        const Share s = share_of(n, part, threads);
        const auto* words = reinterpret_cast<const std::uint64_t*>(static_cast<const char*>(from) + s.first);
        // Four streams per thread, so that sums do not wait for each other and more loads are on their way at a time.
        const std::int64_t quarter = s.size / 8 / 4;
        std::uint64_t a = 0, b = 0, c = 0, d = 0;
        for (std::int64_t i = 0; i < quarter; ++i) {
            a += words[i];
            b += words[i + quarter];
            c += words[i + 2 * quarter];
            d += words[i + 3 * quarter];
        }
        for (std::int64_t i = 4 * quarter; i < s.size / 8; ++i) {
            a += words[i];
        }
        total += a + b + c + d;
    }
    return total;
}

}  // namespace pixfold
