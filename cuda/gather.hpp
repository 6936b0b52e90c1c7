// Rows whose columns are those of other rows, or 0: a thread takes a few columns of a group of rows, and knows where
// they come from out of one load. Words are moved, never computed with.
#pragma once

#include "launch.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {

// Index: `of(column)`, the column of `from`, -1 for 0; where `in_order`, that is the column itself before n_in_order
// and -1 from there on, and `of` is not asked.
template <class Word, class Index>
struct Gathering {
    const Word* from;
    Word* out;
    Index index;
    bool in_order;
    std::int64_t n_in_order;
    std::int64_t n_from;  // columns
    bool whole_rows;      // of `from`: they can be read several words at a time
    Tiles tiles;          // of `out`
};

template <class Word, class Index, int width>
__global__ void __launch_bounds__(block_threads) gather_tiles(const Gathering<Word, Index> a) {
    constexpr int at_once = 4;  // rows whose loads are in flight together
    const std::int64_t n_columns = a.tiles.n_columns;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const Columns<width> columns(a.tiles, unit);
        const Samples samples = samples_of(a.tiles, unit);
        std::int32_t column[items];
        if (!a.in_order) {
#pragma unroll
            for (int k = 0; k < items; ++k) {
                column[k] = columns.at(k) < n_columns ? a.index.of(columns.at(k)) : -1;
            }
        }
        for (std::int64_t i = samples.first; i < samples.end; i += at_once) {
            Word value[at_once][items];
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                const Word* row = a.from + (i + u) * a.n_from;
                if (!a.in_order) {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        value[u][k] = column[k] >= 0 ? row[column[k]] : Word{0};
                    }
                } else if (width == 1 || a.whole_rows) {
                    columns.load_once(row, a.n_in_order, value[u]);
                } else {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        value[u][k] = columns.at(k) < a.n_in_order ? row[columns.at(k)] : Word{0};
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u < samples.end) {
                    columns.store_once(a.out + (i + u) * n_columns, n_columns, value[u]);
                }
            }
        }
    }
}

template <class Word, class Index>
void gather(const Word* from, std::int64_t n_from, Word* out, std::int64_t n_columns, std::int64_t n_rows,
            const Index& index, bool in_order, std::int64_t n_in_order, void* stream) {
    constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
    const Tiles tiles = tiles_of(n_columns, n_rows, tile_columns, !in_order && n_from * size > far_sample);
    const Gathering<Word, Index> gathering{
        from, out, index, in_order, n_in_order, n_from, whole_words(from, n_from * size, size), tiles};
    const bool wide = whole_words(out, n_columns * size, size);
    launch(wide ? gather_tiles<Word, Index, items> : gather_tiles<Word, Index, 1>, blocks_for(tiles.n_units),
           block_threads, 0, stream, gathering);
}

}  // namespace pixfold::cuda
