#include <cmath>

#include "counts.hpp"
#include "elements.hpp"
#include "launch.hpp"
#include "math/seek.hpp"
#include "normalise.hpp"
#include "pixfold/column_stats.hpp"
#include "stats_parts.hpp"

namespace pixfold::cuda {
namespace {

constexpr int tile_features = 512;
constexpr int rows_ahead = 8;  // whose loads are in flight together

// The sums of a tile's features over the stored values of a block of rows.
template <class C>
struct Tile {
    double sum[tile_features];     // of v - pivot
    double square[tile_features];  // of (v - pivot)^2
    C pivot[tile_features];
    C lo[tile_features];
    C hi[tile_features];
    int n[tile_features];
    int missing[tile_features];
};
static_assert(sizeof(Tile<double>) + sizeof(LogTable) <= 48 * 1024, "what every device gives a block of threads");

struct Summing {
    CsrView x;
    StatsArguments how;
    LogTable table;
    unsigned long long* counts;
    StatsParts parts;
    std::int64_t n_tiles;
};

struct Odd {
    unsigned negative = 0;
    unsigned infinite = 0;
    unsigned taken = 0;
};

template <class C>
__device__ C value_of(const Summing& a, const LogTable& table, C lifted, C scale) {
    const C floor = a.how.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL);  // -inf raises nothing
    const C argument = at_least(floor, lifted * scale);
    return a.how.log ? log1p(argument, table) : argument;
}

template <class C>
__device__ C offset_of(const Summing& a, std::int64_t feature) {
    return a.how.offset != nullptr ? static_cast<C>(a.how.offset[feature]) : C{0};
}

template <class C>
__device__ void add_entry(const Summing& a, const LogTable& table, C x, std::int64_t feature, int cell, C scale,
                          Tile<C>& t, Odd& odd) {
    if (x != x) {
        ++t.missing[cell];
        return;
    }
    if (x == C{0}) {
        return;  // counted with those that are not stored
    }
    const C lifted = x + offset_of<C>(a, feature);
    odd.infinite += std::fabs(x) == static_cast<C>(HUGE_VAL) ? 1u : 0u;
    odd.negative += lifted < C{0} ? 1u : 0u;
    const C v = value_of(a, table, lifted, scale);
    const C pivot = t.n[cell] == 0 ? v : t.pivot[cell];
    const double d = static_cast<double>(v) - static_cast<double>(pivot);
    t.pivot[cell] = pivot;
    t.sum[cell] += d;
    t.square[cell] = std::fma(d, d, t.square[cell]);
    t.lo[cell] = std::fmin(t.lo[cell], v);
    t.hi[cell] = std::fmax(t.hi[cell], v);
    ++t.n[cell];
}

template <class C>
__device__ void clear(Tile<C>& t, int k) {
    t.sum[k] = t.square[k] = 0.0;
    t.lo[k] = static_cast<C>(HUGE_VAL);
    t.hi[k] = -t.lo[k];
    t.n[k] = t.missing[k] = 0;
}

// The statistics of a feature over all rows of a block: those of its stored values, and zeros as a block of their own.
template <class C>
__device__ FeatureStats stats_of(const Summing& a, const LogTable& table, const Tile<C>& t, int k, std::int64_t feature,
                                 std::int64_t n_rows, Odd& odd) {
    const double n = static_cast<double>(t.n[k] > 0 ? t.n[k] : 1);
    const double shift = t.sum[k] / n;
    const double m2 = t.square[k] - t.sum[k] * shift;
    FeatureStats stats{static_cast<double>(t.lo[k]),
                       static_cast<double>(t.hi[k]),
                       t.n[k] > 0 ? static_cast<double>(t.pivot[k]) + shift : 0.0,
                       m2 < 0.0 ? 0.0 : m2,
                       0,
                       t.missing[k]};
    const std::int64_t stored = t.n[k] + t.missing[k];
    const std::int64_t zeros = n_rows - stored;
    if (zeros > 0) {
        const C lifted = offset_of<C>(a, feature);
        const double v = static_cast<double>(value_of(a, table, lifted, C{1}));
        odd.negative += lifted < C{0} ? static_cast<unsigned>(zeros) : 0u;
        merge_stats(stats, stored, {v, v, v, 0.0, zeros, 0}, zeros);
    }
    return stats;
}

// The first entry of a row whose feature is at least `feature`, looked for where it was in the row before: rows are
// alike.
template <class I>
__device__ std::int64_t edge_of(const I* indices, std::int64_t start, std::int64_t stop, std::int64_t feature,
                                double& place) {
    const auto n = static_cast<double>(stop - start);
    const std::int64_t at = seek(indices, start, stop, start + static_cast<std::int64_t>(place * n), feature);
    place = stop > start ? static_cast<double>(at - start) / (n + 1.0) : place;
    return at;
}

// A block of threads is one warp.
template <class Word, class C, class I>
__global__ void __launch_bounds__(warp_threads) sum_rows(const Summing a) {
    __shared__ LogTable table;
    share(a.table, table);
    const unsigned lane = threadIdx.x;
    Tile<C>& tile = *dynamic_shared<Tile<C>>();
    const I* indices = static_cast<const I*>(a.x.indices);
    const Word* values = static_cast<const Word*>(a.x.values);
    Odd odd;
    for (std::int64_t unit = blockIdx.x; unit < a.n_tiles * a.parts.n_blocks; unit += gridDim.x) {
        const std::int64_t block = unit / a.n_tiles;
        const std::int64_t first = unit % a.n_tiles * tile_features;
        const std::int64_t last = first + tile_features < a.x.n_features ? first + tile_features : a.x.n_features;
        const std::int64_t begin = a.parts.first(block);
        const std::int64_t end = a.parts.first(block + 1);
        for (int k = static_cast<int>(lane); k < tile_features; k += static_cast<int>(warp_threads)) {
            clear(tile, k);
        }
        __syncwarp();
        const auto add = [&](std::int64_t index, Word word, C scale) {
            if (index >= first && index < last) {
                ++odd.taken;
                add_entry(a, table, decode_one<C>(a.x.dtype, word), index, static_cast<int>(index - first), scale, tile,
                          odd);
            }
        };
        double from_place = static_cast<double>(first) / static_cast<double>(a.x.n_features);
        double to_place = static_cast<double>(last) / static_cast<double>(a.x.n_features);
        for (std::int64_t rows = begin; rows < end; rows += warp_threads) {
            // A lane finds the tile in a row, then all lanes take its entries row by row.
            std::int64_t from = 0;
            std::int64_t to = 0;
            C row_scale = C{1};
            if (rows + lane < end) {
                const std::int64_t start = a.x.row_start[rows + lane];
                const std::int64_t stop = a.x.row_start[rows + lane + 1];
                from = first == 0 ? start : edge_of(indices, start, stop, first, from_place);
                to = last == a.x.n_features ? stop : edge_of(indices, start, stop, last, to_place);
                if (a.how.row_scale != nullptr) {
                    row_scale = static_cast<C>(a.how.row_scale[rows + lane]);
                }
            }
            const unsigned n_rows = end - rows < warp_threads ? static_cast<unsigned>(end - rows) : warp_threads;
            for (unsigned row = 0; row < n_rows; row += rows_ahead) {
                std::int64_t at[rows_ahead];
                std::int64_t stop[rows_ahead];
                I index[rows_ahead];
                Word word[rows_ahead];
#pragma unroll
                for (unsigned u = 0; u < rows_ahead; ++u) {
                    at[u] = __shfl_sync(whole_warp, from, row + u) + lane;
                    stop[u] = __shfl_sync(whole_warp, to, row + u);
                    index[u] = at[u] < stop[u] ? indices[at[u]] : I{-1};
                    word[u] = at[u] < stop[u] ? values[at[u]] : Word{0};
                }
#pragma unroll
                for (unsigned u = 0; u < rows_ahead; ++u) {
                    const C scale = __shfl_sync(whole_warp, row_scale, row + u);
                    add(index[u], word[u], scale);
                    for (std::int64_t e = at[u] + warp_threads; e < stop[u]; e += warp_threads) {
                        add(indices[e], values[e], scale);
                    }
                    __syncwarp();
                }
            }
        }
        for (int k = static_cast<int>(lane); first + k < last; k += static_cast<int>(warp_threads)) {
            a.parts.put(block, first + k, stats_of(a, table, tile, k, first + k, end - begin, odd));
        }
        __syncwarp();
    }
    add_counts({odd.negative, odd.infinite, odd.taken}, a.counts);
}

constexpr std::int64_t largest_block = 8192;
constexpr std::int64_t smallest_block = 128;
constexpr std::int64_t enough_warps = 2048;

std::int64_t tiles_of(const CsrView& x) { return (x.n_features + tile_features - 1) / tile_features; }

StatsParts csr_parts(const CsrView& x, void* workspace, const StatsOutput& out) {
    std::int64_t block = largest_block;
    while (block > smallest_block && tiles_of(x) * ((x.n_samples + block - 1) / block) < enough_warps) {
        block /= 2;
    }
    return parts_of(x.n_samples, x.n_features, block, workspace, out);
}

template <class F>
void with_indices(bool wide, F&& f) {
    if (wide) {
        f(std::int64_t{});
    } else {
        f(std::int32_t{});
    }
}

}  // namespace

std::int64_t column_stats_csr_workspace(const CsrView& x) { return bytes_of(csr_parts(x, nullptr, {})); }

void column_stats_csr(const CsrView& x, const StatsArguments& how, const StatsOutput& out, unsigned long long* counts,
                      void* workspace, void* stream) {
    if (x.n_features == 0) {
        return;
    }
    const Summing summing{x, how, log_table(), counts, csr_parts(x, workspace, out), tiles_of(x)};
    const std::int64_t units = summing.n_tiles * summing.parts.n_blocks;
    with_storage(x.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        with_indices(x.wide_indices, [&](auto index) {
            launch(sum_rows<Word, C, decltype(index)>, blocks_for(units), warp_threads, sizeof(Tile<C>), stream,
                   summing);
        });
    });
    merge_parts(summing.parts, stream);
}

}  // namespace pixfold::cuda
