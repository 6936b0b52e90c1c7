// How rows are put together whose values lie side by side in scratch memory (fold_interleaved.cu).
#pragma once

#include <cstdint>

#include "fours.hpp"

namespace pixfold::cuda::interleaved {

constexpr int sector = 32;
constexpr int threads = 256;
constexpr int tile = threads / 2 * columns;  // features or pixels of a block

// Samples of a group, and of one of its two threads.
template <class O>
constexpr int group_of = sector / static_cast<int>(sizeof(O));
template <class O>
constexpr int own_rows = group_of<O> / 2;

// Which rows make a group: `size` of them, `period` apart.
struct Groups {
    int n_samples;
    int size;
    int period;

    __device__ int first_row(int group) const { return group / period * period * size + group % period; }
    std::int64_t count() const {
        const std::int64_t rows = std::int64_t{period} * size;
        return (n_samples + rows - 1) / rows * period;
    }
    // How many of the rows from `row` on there are, `most` at most.
    __device__ int rows_from(int row, int most) const {
        const int left = row < n_samples ? (n_samples - row + period - 1) / period : 0;
        return left < most ? left : most;
    }
};

}  // namespace pixfold::cuda::interleaved
