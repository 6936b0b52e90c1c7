// A run of elements, shared out to threads that stand side by side: each takes every lanes-th of them, or of the groups
// of `width` that are one access.
#pragma once

#include "elements.hpp"
#include "words.hpp"

namespace pixfold::cuda {

// Elements of a 16-byte access, where a run allows it.
template <class Word>
constexpr int words_together = 16 / static_cast<int>(sizeof(Word));

inline bool reads_together(const void* run, std::int64_t stride, std::int64_t across, std::int64_t element_bytes) {
    return stride == element_bytes && reinterpret_cast<std::uintptr_t>(run) % 16 == 0 && across % 16 == 0;
}

// Calls f with each of the thread's values among n elements `stride` bytes apart, in order.
template <class Word, class C, int width, class F>
__device__ void for_values(DType dtype, const char* run, std::int64_t stride, std::int64_t n, unsigned lane,
                           unsigned lanes, F&& f) {
    constexpr int in_flight = 4;
    const std::int64_t step = static_cast<std::int64_t>(lanes) * width;
    for (std::int64_t j = static_cast<std::int64_t>(lane) * width; j < n; j += step * in_flight) {
        Word words[in_flight * width];
#pragma unroll
        for (int u = 0; u < in_flight; ++u) {
            const std::int64_t at = j + u * step;
            if (width > 1 && at + width <= n) {
                const auto read =
                    load_once(reinterpret_cast<const Words<Word, width>*>(run + at * std::int64_t{sizeof(Word)}));
#pragma unroll
                for (int k = 0; k < width; ++k) {
                    words[u * width + k] = read.of[k];
                }
                continue;
            }
#pragma unroll
            for (int k = 0; k < width; ++k) {
                words[u * width + k] = at + k < n ? *reinterpret_cast<const Word*>(run + (at + k) * stride) : Word{0};
            }
        }
        C value[in_flight * width];
        decode(dtype, words, value);
#pragma unroll
        for (int k = 0; k < in_flight * width; ++k) {
            f(value[k]);  // past the end they are 0
        }
    }
}

}  // namespace pixfold::cuda
