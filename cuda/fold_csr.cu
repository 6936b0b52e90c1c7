// fold of compressed sparse rows: never densified. Every image begins as that of an all-zero sample, the background.
//
// Four ways to put the stored values in their places:
//   - images that are a few parts in shared memory: every part looks through all entries of its row (staged_rows.hpp)
//   - larger ones, features in the order of their pixels: by tiles in shared memory, whose entries a search finds
//   - larger ones in any order: the background of a few rows is written, then the values over it while it is in L2
//   - several features on a pixel: every pixel looks its features up in the row
#include "counts.hpp"
#include "launch.hpp"
#include "sparse_fold.hpp"
#include "staged_rows.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

constexpr std::int64_t tile_bytes = 32 << 10;   // of shared memory: several blocks fit a multiprocessor
constexpr std::int64_t group_bytes = 32 << 20;  // of images that stay in L2 until their values are written
constexpr std::int64_t blocks_per_row = 8;      // that scatter the values of a large row

// The first entry in [start, end) whose index is `least` or more.
template <class C, class O>
__device__ std::int64_t lower_bound(const Scattering<C, O>& a, std::int64_t start, std::int64_t end,
                                    std::int64_t least) {
    while (start < end) {
        const std::int64_t middle = start + (end - start) / 2;
        if (index_at(a, middle) < least) {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    return start;
}

template <class Word, class C, class O>
__global__ void __launch_bounds__(block_threads) fold_row_tiles(const Scattering<C, O> a) {
    __shared__ LogTable table;
    share(a.table, table);
    O* tile = dynamic_shared<O>();
    MetInRows met;
    for (std::int64_t unit = blockIdx.x; unit < a.n_samples * a.n_tiles; unit += gridDim.x) {
        const std::int64_t i = unit / a.n_tiles;
        const std::int64_t first = unit % a.n_tiles * a.tile_pixels;
        const std::int64_t n = a.slots.n_pixels - first < a.tile_pixels ? a.slots.n_pixels - first : a.tile_pixels;
        for (std::int64_t p = threadIdx.x; p < n; p += block_threads) {
            tile[p] = a.background != nullptr ? a.background[first + p] : O{};
        }
        __syncthreads();
        const std::int64_t row = row_of(a, i);
        std::int64_t start = a.row_start[row];
        std::int64_t end = a.row_start[row + 1];
        // All indices from the last tile on, so that one out of range is seen.
        const std::int64_t row_end = end;
        end = first + n < a.slots.n_pixels ? lower_bound(a, start, row_end, first + n) : row_end;
        start = first > 0 ? lower_bound(a, start, row_end, first) : start;
        const C row_scale = row_scale_of(a, i);
        for (std::int64_t e = start + threadIdx.x; e < end; e += block_threads) {
            const Placed<C> placed = place<Word>(a, table, e, row_scale, first, first + n, true, met);
            if (placed.pixel >= 0) {
                store(&tile[placed.pixel - first], placed.value);
            }
        }
        __syncthreads();
        O* image = a.out + i * a.slots.n_pixels + first;
        for (std::int64_t p = threadIdx.x; p < n; p += block_threads) {
            store_once(image + p, tile[p]);
        }
        __syncthreads();
    }
    add_counts({met.missing, met.negative, met.outside}, a.counts);
}

// The background of rows [first_sample, end_sample), which stays in L2 for what is written over it.
template <class O, int width>
__global__ void __launch_bounds__(block_threads) fill_rows(const O* background, O* out, const Tiles tiles) {
    for (std::int64_t unit = blockIdx.x; unit < tiles.n_units; unit += gridDim.x) {
        const Columns<width> columns(tiles, unit);
        const Samples samples = samples_of(tiles, unit);
        O image[items];
        if (background != nullptr) {
            columns.load(background, tiles.n_columns, image);
        } else {
            for (O& one : image) {
                one = O{};
            }
        }
        for (std::int64_t i = samples.first; i < samples.end; ++i) {
            columns.store(out + i * tiles.n_columns, tiles.n_columns, image);
        }
    }
}

template <class Word, class C, class O>
__global__ void __launch_bounds__(block_threads) scatter_rows(const Scattering<C, O> a) {
    __shared__ LogTable table;
    share(a.table, table);
    MetInRows met;
    const std::int64_t n_units = (a.end_sample - a.first_sample) * blocks_per_row;
    for (std::int64_t unit = blockIdx.x; unit < n_units; unit += gridDim.x) {
        const std::int64_t i = a.first_sample + unit / blocks_per_row;
        const C row_scale = row_scale_of(a, i);
        const std::int64_t row = row_of(a, i);
        const std::int64_t end = a.row_start[row + 1];
        for (std::int64_t e = a.row_start[row] + unit % blocks_per_row * block_threads + threadIdx.x; e < end;
             e += blocks_per_row * block_threads) {
            const Placed<C> placed = place<Word>(a, table, e, row_scale, 0, a.slots.n_pixels, true, met);
            if (placed.pixel >= 0) {
                store(a.out + i * a.slots.n_pixels + placed.pixel, placed.value);
            }
        }
    }
    add_counts({met.missing, met.negative, met.outside}, a.counts);
}

// The mean of a pixel's features in double, in the order of the slots: the bits of dense samples.
template <class Word, class C, class O>
__global__ void __launch_bounds__(block_threads) fold_row_means(const Scattering<C, O> a) {
    __shared__ LogTable table;
    share(a.table, table);
    const std::int64_t n_pixels = a.slots.n_pixels;
    MetInRows met;
    for (std::int64_t unit = blockIdx.x; unit < a.n_samples * a.n_tiles; unit += gridDim.x) {
        const std::int64_t i = unit / a.n_tiles;
        const std::int64_t p = unit % a.n_tiles * block_threads + threadIdx.x;
        const std::int64_t row = row_of(a, i);
        const std::int64_t start = a.row_start[row];
        const std::int64_t end = a.row_start[row + 1];
        if (p == 0) {
            for (std::int64_t e = start; e < end; ++e) {
                const std::int64_t j = index_at(a, e);
                met.outside += j < 0 || j >= a.n_features ? 1u : 0u;
            }
        }
        if (p >= n_pixels) {
            continue;
        }
        double sum = 0.0;
        const std::int32_t first_slot = a.slots.first_slot[p];
        const std::int32_t end_slot = a.slots.first_slot[p + 1];
        for (std::int32_t k = first_slot; k < end_slot; ++k) {
            const std::int64_t j = a.slots.feature != nullptr ? a.slots.feature[k] : k;
            const std::int64_t e = lower_bound(a, start, end, j);
            const bool stored = e < end && index_at(a, e) == j;
            const C x = stored ? decode_one<C>(a.dtype, static_cast<const Word*>(a.values)[e]) : C{0};
            const C row_scale = stored ? row_scale_of(a, i) : C{1};
            Met seen;
            const C y = a.normalise ? normalise_one(a.formula, table, k, row_scale, x, seen) : x;
            // What is not stored is in no count.
            met.missing += stored ? seen.missing : 0u;
            met.negative += stored ? seen.negative : 0u;
            sum += static_cast<double>(y);
        }
        O image{};
        if (first_slot < end_slot) {
            store(&image, sum / static_cast<double>(end_slot - first_slot));
        }
        store_once(a.out + i * n_pixels + p, image);
    }
    add_counts({met.missing, met.negative, met.outside}, a.counts);
}

template <class Word, class C, class O>
void fold_typed(const FoldCsrArguments& a, O* out, void* stream) {
    constexpr auto pixel = static_cast<std::int64_t>(sizeof(O));
    const CsrView& x = a.x;
    const std::int64_t n_pixels = a.slots.n_pixels;
    Scattering<C, O> scattering{x.values,
                                x.dtype,
                                x.indices,
                                x.wide_indices,
                                x.row_start,
                                a.sample,
                                x.n_samples,
                                x.n_features,
                                0,
                                x.n_samples,
                                a.slots,
                                a.slot_of_feature,
                                a.pixel_of_feature,
                                a.parameters.normalise,
                                Formula<C>(a.parameters),
                                log_table(),
                                a.parameters.row_scale,
                                static_cast<const O*>(a.background),
                                out,
                                a.counts,
                                block_threads,
                                (n_pixels + block_threads - 1) / block_threads};
    if (!a.slots.one_to_one) {
        launch(fold_row_means<Word, C, O>, blocks_for(x.n_samples * scattering.n_tiles), block_threads, 0, stream,
               scattering);
        return;
    }
    if (staged_parts<O>(n_pixels) <= most_looks) {
        fold_staged<Word>(scattering, stream);
        return;
    }
    if (a.pixel_of_feature == nullptr) {
        // Tiles of one size.
        const std::int64_t most = tile_bytes / pixel;
        scattering.n_tiles = (n_pixels + most - 1) / most;
        scattering.tile_pixels = (n_pixels + scattering.n_tiles - 1) / scattering.n_tiles;
        launch(fold_row_tiles<Word, C, O>, blocks_for(x.n_samples * scattering.n_tiles), block_threads,
               static_cast<std::size_t>(scattering.tile_pixels * pixel), stream, scattering);
        return;
    }
    const std::int64_t group = group_bytes / (n_pixels * pixel) > 1 ? group_bytes / (n_pixels * pixel) : 1;
    for (std::int64_t first = 0; first < x.n_samples; first += group) {
        scattering.first_sample = first;
        scattering.end_sample = first + group < x.n_samples ? first + group : x.n_samples;
        const std::int64_t n = scattering.end_sample - first;
        O* images = out + first * n_pixels;
        const Tiles tiles = tiles_of(n_pixels, n, tile_columns, false);
        const bool wide = whole_words(images, n_pixels * pixel, pixel) && whole_words(a.background, 0, pixel);
        launch(wide ? fill_rows<O, items> : fill_rows<O, 1>, blocks_for(tiles.n_units), block_threads, 0, stream,
               scattering.background, images, tiles);
        launch(scatter_rows<Word, C, O>, blocks_for(n * blocks_per_row), block_threads, 0, stream, scattering);
    }
}

}  // namespace

void fold_csr(const FoldCsrArguments& a, void* stream) {
    if (a.x.n_samples == 0 || a.slots.n_pixels == 0) {
        return;
    }
    with_storage(a.x.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        with_output(a.out.dtype, a.out.data, [&](auto* images) { fold_typed<Word, C>(a, images, stream); });
    });
}

}  // namespace pixfold::cuda
