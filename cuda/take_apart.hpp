// The second kernel of fold_interleaved.cu: a pixel takes one sector of scratch memory, all of which is used.
#pragma once

#include "interleaved_groups.hpp"
#include "kept_words.hpp"
#include "overlap.hpp"
#include "pixels.hpp"

namespace pixfold::cuda::interleaved {
namespace {  // a kernel of the file that includes it

template <class Word>
struct Apart {
    const Word* between;
    Word* out;
    Slots slots;
    bool whole_features;  // those of a four may be read as one
    int n_features;
    Groups groups;
    int first_group;
    int n_tiles;
    std::int64_t n_units;
};

template <class Word>
__device__ std::int32_t feature_at(const Apart<Word>& a, int pixel) {
    if (pixel < 0) {
        return -1;
    }
    const std::int32_t slot = slot_of(a.slots, pixel);
    return slot < 0 || a.slots.feature == nullptr ? slot : a.slots.feature[slot];
}

template <class Word>
__global__ void __launch_bounds__(threads, sizeof(Word) == 4 ? 6 : 4) take_apart(const Apart<Word> a) {
    constexpr int n = own_rows<Word>;
    const int n_pixels = static_cast<int>(a.slots.n_pixels);
    let_next_begin();
    for (std::int64_t unit = blockIdx.x; unit < a.n_units; unit += gridDim.x) {
        const int group = static_cast<int>(unit / a.n_tiles);
        const int half = static_cast<int>(threadIdx.x & 1u);
        const int first_row = a.groups.first_row(a.first_group + group);
        const int row = first_row + half * n * a.groups.period;
        const int rows = a.groups.rows_from(row, n);
        const int first = static_cast<int>(unit % a.n_tiles) * tile + static_cast<int>(threadIdx.x / 2) * columns -
                          behind_boundary(a.out + a.slots.n_pixels * first_row);
        Words<std::int32_t, columns> feature;
        if (a.whole_features && first % columns == 0 && first + columns <= a.slots.n_slots) {
            feature = *reinterpret_cast<const Words<std::int32_t, columns>*>(a.slots.feature + first);
        } else {
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                feature.of[k] = rows > 0 ? feature_at(a, first + k) : -1;
            }
        }
        wait_for_previous();  // which has put it between
        if (rows == 0) {
            continue;
        }
        Words<Word, n> values[columns];
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            values[k] = {};
            if (feature.of[k] >= 0) {
                values[k] = load_kept(reinterpret_cast<const Words<Word, n>*>(
                    a.between + (std::int64_t{group} * a.n_features + feature.of[k]) * group_of<Word> + half * n));
            }
        }
        Word* to = a.out + a.slots.n_pixels * row + first;
        const std::int64_t step = a.slots.n_pixels * a.groups.period;
        const bool whole = first >= 0 && first + columns <= n_pixels;
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u >= rows) {
                continue;
            }
            if (whole) {
                store_once(reinterpret_cast<Words<Word, columns>*>(to + u * step),
                           Words<Word, columns>{values[0].of[u], values[1].of[u], values[2].of[u], values[3].of[u]});
                continue;
            }
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                if (first + k >= 0 && first + k < n_pixels) {
                    to[u * step + k] = values[k].of[u];
                }
            }
        }
    }
}

}  // namespace
}  // namespace pixfold::cuda::interleaved
