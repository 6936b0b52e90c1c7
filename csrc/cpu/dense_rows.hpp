// Dense samples tile by tile: the values of a run of slots, in the type that the kernels compute in.
#pragma once

#include "images.hpp"
#include "math/elements.hpp"
#include "pixfold/views.hpp"

namespace pixfold::PIXFOLD_ISA {

constexpr std::int64_t ahead = 4096;                     // bytes: what is fetched while a tile is worked on
constexpr std::int64_t far_row = std::int64_t{1} << 19;  // bytes: a row that L2 hardly holds beside all else
constexpr std::int64_t ahead_slots = 256;                // of gathers from such a row

// Into L2.
inline void fetch(const char* from, std::int64_t bytes) {
    for (std::int64_t at = 0; at < bytes; at += cache_line) {
        __builtin_prefetch(from + at, 0, 2);
    }
}

// One sample as the tiles see it.
struct Row {
    const char* data;
    const char* next;     // the sample after it, or null
    bool side_by_side;    // features without gaps between them
    std::int64_t stride;  // bytes from feature to feature
    std::int64_t n_features;
    bool far;
};

template <class T>
void load_tile(const Row& row, const SlotView& slots, std::int64_t first, std::int64_t n, Compute<T>* value) {
    using C = Compute<T>;
    constexpr std::int64_t size = sizeof(T);
    if (slots.identity_features && row.side_by_side) {
        const char* at = row.data + first * size;
        fetch(at + ahead, n * size);
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(load<T>(at, size, k));
        }
        return;
    }
    const std::int32_t* feature = slots.feature + first;
    if (!row.side_by_side) {
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(load<T>(row.data, row.stride, feature[k]));
        }
        return;
    }
    // Gathers show the hardware no order to follow. The next sample is fetched by part while this one is read; one that
    // L2 cannot hold is better read through once, in order, when its turn comes.
    if (row.far && first == 0) {
        fetch(row.data, row.n_features * size);
    } else if (!row.far && row.next != nullptr) {
        fetch(row.next + first * size, n * size);
    }
    std::int64_t k = 0;
    if (row.far) {
        const std::int64_t last = slots.n_slots - first - ahead_slots;
        for (; k < (n < last ? n : last); ++k) {
            __builtin_prefetch(row.data + feature[k + ahead_slots] * size, 0, 2);
            value[k] = widen<C>(load<T>(row.data, size, feature[k]));
        }
    }
    for (; k < n; ++k) {
        value[k] = widen<C>(load<T>(row.data, size, feature[k]));
    }
}

}  // namespace pixfold::PIXFOLD_ISA
