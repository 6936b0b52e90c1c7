// Writing images: values that were computed in a tile go to their pixels, past the caches where the output is large.
#pragma once

#include <type_traits>

#include "math/elements.hpp"
#include "pixfold/fold.hpp"
#include "simd/lanes.hpp"

namespace pixfold::PIXFOLD_ISA {

constexpr std::int64_t tile_slots = 256;  // a tile's values and its parameters stay in L1 between the loops over it
constexpr std::int64_t cache_line = 64;   // bytes

// Whether images are written past the caches. A normal store first reads the line that it overwrites, and finds it in
// the cache only where the same memory is written again and again: batches of 4.9 MB in three memories by turns took 54
// ms with normal stores and 31 past 32 MB of cache (71 and 53 where each was read afterwards), in one memory 32 and 31.
constexpr std::int64_t far_images = std::int64_t{4} << 20;
inline bool streams(std::int64_t bytes, std::int64_t from = far_images) { return bytes >= from; }

template <class O>
void zero_pixels(O* image, std::int64_t first, std::int64_t end) {
    if (end > first) {
        std::memset(static_cast<void*>(image + first), 0, static_cast<std::size_t>(end - first) * sizeof(O));
    }
}

// How many elements there are from `to` to the next cache line.
template <class O>
std::int64_t elements_to_line(const O* to) {
    const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to) % cache_line);
    return past == 0 ? 0 : (cache_line - past) / static_cast<std::int64_t>(sizeof(O));
}

// `to` is aligned to a cache line and n a multiple of one.
template <class O>
void stream_words(const O* from, std::int64_t n, O* to) {
    constexpr std::int64_t step = register_bytes / static_cast<std::int64_t>(sizeof(O));
    for (std::int64_t k = 0; k < n; k += step) {
        Floats word;
        std::memcpy(&word, from + k, sizeof(word));
        stream_lanes<Floats>(reinterpret_cast<float*>(to + k), word);
    }
}

// n values to consecutive pixels. With `stream`, `to` is aligned to a cache line, n a multiple of one and at most a
// tile.
template <class C, class O>
void store_tile(const C* value, std::int64_t n, O* to, bool stream) {
    if constexpr (std::is_same_v<C, O>) {
        if (stream) {
            stream_words(value, n, to);
        } else {
            std::memcpy(to, value, static_cast<std::size_t>(n) * sizeof(O));
        }
    } else if (stream) {
        alignas(cache_line) O converted[tile_slots];
        for (std::int64_t k = 0; k < n; ++k) {
            store(converted + k, value[k]);
        }
        stream_words(converted, n, to);
    } else {
        for (std::int64_t k = 0; k < n; ++k) {
            store(to + k, value[k]);
        }
    }
}

// A whole image, of any alignment.
template <class O>
void stream_image(const O* from, std::int64_t n, O* to) {
    const std::int64_t head = elements_to_line(to) < n ? elements_to_line(to) : n;
    const std::int64_t per_line = cache_line / static_cast<std::int64_t>(sizeof(O));
    const std::int64_t body = (n - head) / per_line * per_line;
    std::memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(head) * sizeof(O));
    stream_words(from + head, body, to + head);
    std::memcpy(static_cast<void*>(to + head + body), from + head + body,
                static_cast<std::size_t>(n - head - body) * sizeof(O));
}

// Running mean of the features of one pixel, in double.
template <class O>
struct PixelMean {
    O* image;
    std::int64_t pixel = -1;
    double sum = 0.0;
    std::int64_t n = 0;

    void add(std::int64_t at, double value) {
        if (at != pixel) {
            flush();
            pixel = at;
            sum = 0.0;
            n = 0;
        }
        sum += value;
        ++n;
    }
    void flush() {
        if (pixel >= 0) {
            store(image + pixel, sum / static_cast<double>(n));
        }
    }
};

}  // namespace pixfold::PIXFOLD_ISA
