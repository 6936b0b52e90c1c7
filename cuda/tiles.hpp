// How a matrix is shared out: a block takes a tile of columns of a group of samples, a thread `items` columns of them.
// What belongs to a column (its index, its parameters) is loaded once for the whole group.
#pragma once

#include <cstdint>

#include "words.hpp"

namespace pixfold::cuda {

constexpr int block_threads = 256;
constexpr int items = 4;
constexpr int tile_columns = block_threads * items;

struct Tiles {
    std::int64_t n_columns;
    std::int64_t n_samples;
    std::int64_t n_tiles;
    std::int64_t n_units;
    std::int64_t group;  // samples

    Tiles in_groups_of(std::int64_t n) const {
        return {n_columns, n_samples, n_tiles, n_tiles * ((n_samples + n - 1) / n), n};
    }
};

// Enough blocks to fill a large GPU several times over; until then groups are made smaller.
constexpr std::int64_t enough_units = 2048;
constexpr std::int64_t least_group = 4;
constexpr std::int64_t largest_group = 16;

// What memory gives for a single value that is asked for. A unit takes the samples that come with it.
constexpr std::int64_t sector_bytes = 32;

// Samples of more bytes than this are gathered from a group at a time that the L2 of every data-centre GPU holds:
// all tiles of one group come before the next group.
constexpr std::int64_t far_sample = std::int64_t{1} << 20;

inline Tiles tiles_of(std::int64_t n_columns, std::int64_t n_samples, std::int64_t columns_per_tile, bool far) {
    const std::int64_t n_tiles = (n_columns + columns_per_tile - 1) / columns_per_tile;
    Tiles tiles = Tiles{n_columns, n_samples, n_tiles, 0, 0}.in_groups_of(far ? least_group : largest_group);
    while (tiles.group > least_group && tiles.n_units < enough_units) {
        tiles = tiles.in_groups_of(tiles.group / 2);
    }
    return tiles;
}

// The samples of a unit.
struct Samples {
    std::int64_t first;
    std::int64_t end;
};

__device__ inline Samples samples_of(const Tiles& tiles, std::int64_t unit) {
    const std::int64_t first = unit / tiles.n_tiles * tiles.group;
    return {first, first + tiles.group < tiles.n_samples ? first + tiles.group : tiles.n_samples};
}

// The columns of a thread. With a width of `items` they are side by side, one access; with a width of 1 a block's
// width apart, so that the threads of a warp are side by side: for rows that begin on no 16-byte boundary.
template <int width>
struct Columns {
    static_assert(width == 1 || width == items);
    std::int64_t first;

    __device__ Columns(const Tiles& tiles, std::int64_t unit)
        : first(unit % tiles.n_tiles * tile_columns + static_cast<std::int64_t>(threadIdx.x) * width) {}
    __device__ std::int64_t at(int k) const { return first + (width == items ? k : k * block_threads); }

    // to[k] = row[at(k)], T{} from column n on; load_once of what the caches need not keep.
    template <class T>
    __device__ void load(const T* row, std::int64_t n, T (&to)[items]) const {
        read(row, n, to, [](const auto* from) { return *from; });
    }
    template <class T>
    __device__ void load_once(const T* row, std::int64_t n, T (&to)[items]) const {
        read(row, n, to, [](const auto* from) { return cuda::load_once(from); });
    }

    // row[at(k)] = from[k] before column n.
    template <class T>
    __device__ void store(T* row, std::int64_t n, const T (&from)[items]) const {
        write(row, n, from, [](auto* to, const auto& value) { store_word(to, value); });
    }
    template <class T>
    __device__ void store_once(T* row, std::int64_t n, const T (&from)[items]) const {
        write(row, n, from, [](auto* to, const auto& value) { cuda::store_once(to, value); });
    }

  private:
    template <class T, class Read>
    __device__ void read(const T* row, std::int64_t n, T (&to)[items], Read&& from) const {
        if constexpr (width == items) {
            if (first + items <= n) {
                const auto words = from(reinterpret_cast<const Words<T, items>*>(row + first));
                for (int k = 0; k < items; ++k) {
                    to[k] = words.of[k];
                }
                return;
            }
        }
        for (int k = 0; k < items; ++k) {
            to[k] = at(k) < n ? from(row + at(k)) : T{};
        }
    }
    // Rows that are written `items` at a time (whole_words) have a multiple of `items` columns.
    template <class T, class Write>
    __device__ void write(T* row, std::int64_t n, const T (&from)[items], Write&& to) const {
        if constexpr (width == items) {
            if (first < n) {
                Words<T, items> words;
                for (int k = 0; k < items; ++k) {
                    words.of[k] = from[k];
                }
                to(reinterpret_cast<Words<T, items>*>(row + first), words);
            }
        } else {
            for (int k = 0; k < items; ++k) {
                if (at(k) < n) {
                    to(row + at(k), from[k]);
                }
            }
        }
    }
};

// Whether rows of such elements can be read or written `items` at a time.
inline bool whole_words(const void* rows, std::int64_t stride_bytes, std::int64_t element_bytes) {
    const std::int64_t bytes = element_bytes * items;
    const auto access = static_cast<std::uintptr_t>(bytes < 16 ? bytes : 16);
    return reinterpret_cast<std::uintptr_t>(rows) % access == 0 && stride_bytes % bytes == 0;
}

}  // namespace pixfold::cuda
