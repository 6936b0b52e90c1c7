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
#pragma once

#include "pixfold/packed.hpp"

namespace pixfold::cuda {

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
