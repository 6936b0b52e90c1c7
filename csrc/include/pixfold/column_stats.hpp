// column_stats: one pass over the samples gives, per feature, what every normaliser is made of.
//
//     v[i, j] = g((x[i, j] + offset[j]) * row_scale[i]),  g = log1p or identity; NaN in x is missing
//     count, missing, zeros (x == 0), and min, max, mean, M2 = sum (v - mean)^2 of the values that are there
// A feature without values has count 0, NaN min, max and mean, and M2 0. With an infinite v, or one that is not a
// number although x is (the logarithm of a value below -1), mean and M2 are infinite or NaN; min and max leave NaN out.
// clip_below_zero as in fold. n_negative and n_infinite count x + offset below zero and infinite values of x.
//
// Sums are double. Dense samples are summed in order in blocks of stats_block samples, about a pivot that the block
// itself gives: a feature's first value there is, or 0 where its first 8 values spread over an eighth of their size or
// more. Blocks are merged in order by the formula of Chan, Golub and LeVeque (1983), and so are segments of
// stats_segment samples. A feature's bits therefore depend on its own values and on nothing else: not on the number of
// threads, the other features or the strides. Cut at blocks within a segment, or at segments, and merged in order by
// that formula (ColumnStats.merge), the parts give the bits of the whole; any other cut gives 1e-6 relative.
// Sparse samples are summed likewise, in blocks of as many rows as give a feature a few dozen stored values.
#pragma once

#include <cstdint>

#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

constexpr std::int64_t stats_block = 128;
constexpr std::int64_t stats_segment = 64 * stats_block;

struct StatsArguments {
    bool log;
    bool clip_below_zero;
    const double* offset;     // [n_features], or null for 0
    const double* row_scale;  // [n_samples], or null for 1
};

// Arrays of [n_features], written by the kernel.
struct StatsOutput {
    std::int64_t* count;
    std::int64_t* missing;
    std::int64_t* zeros;
    double* min;
    double* max;
    double* mean;
    double* m2;
};

struct StatsCounts {
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
};

PIXFOLD_KERNEL(column_stats_dense,
               StatsCounts(const DenseView&, const StatsArguments&, const StatsOutput&, int threads));
PIXFOLD_KERNEL(column_stats_csr, StatsCounts(const CsrView&, const StatsArguments&, const StatsOutput&, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// column_stats of dense and of sparse samples on a CUDA device: the contract is pixfold/column_stats.hpp's, and all
// pointers, those inside the arguments too, are the device's. What differs:
//   - calls are queued on the stream and return at once; negative and infinite values are added to counts[0] and
//     counts[1], for whoever reads them later; `counts` may be null
//   - elements, and rows of a strided matrix, must be aligned to the element's size
//   - scratch memory is the caller's: as many bytes as the function of the op says, aligned to 16; null where it says 0
//   - a block is device_stats_block samples, more than the CPU's, so that what is written for a block is little against
//     what is read; the pivot is 0 where the values among the first 8 samples that hold any spread over an eighth of
//     their size or more, else the first of them. Blocks are merged in order, merge_width at a time, and so are what
//     they give, until one is left. Bits depend on a feature's own values (and on the number of samples and features
//     for sparse samples), not on the grid, the other features or the strides; they are not the CPU's

constexpr std::int64_t device_stats_block = 512;

std::int64_t column_stats_dense_workspace(const DenseView&);  // bytes
void column_stats_dense(const DenseView&, const StatsArguments&, const StatsOutput&, unsigned long long* counts,
                        void* workspace, void* stream);

// Sparse rows are added up where they are, without a dense matrix and without sorting: a warp takes a tile of features,
// whose sums lie in shared memory, down a block of rows. Indices of a row are all different, so its lanes add without
// meeting, row after row, which makes the order of the additions that of the rows. Counted: values and indices once,
// and twice the bytes of the blocks' statistics (48 per feature and block); finding a tile in a row reads a few sectors
// more, most of which its neighbours read too. Sorting by feature would move every entry several times; adding with
// atomics would need sums that do not depend on the order.
// A block is some 128 to 8,192 rows: as many as leave the device enough to do. Its pivot is the first value there is.
// Rows must be canonical. The stored values that were taken are added to counts[2]: fewer than there are where indices
// are out of range or do not rise.
std::int64_t column_stats_csr_workspace(const CsrView&);  // bytes
void column_stats_csr(const CsrView&, const StatsArguments&, const StatsOutput&, unsigned long long* counts,
                      void* workspace, void* stream);

}  // namespace pixfold::cuda
