// The merging of blocks: a thread takes one feature of merge_width blocks.
#include "launch.hpp"
#include "stats_parts.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

// Of the blocks there is left every `gap`-th.
__global__ void __launch_bounds__(block_threads)
    merge_runs(const StatsParts parts, const std::int64_t gap, const std::int64_t n_runs) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    for (std::int64_t unit = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; unit < n_runs * parts.n_features;
         unit += stride) {
        const std::int64_t first = unit / parts.n_features * merge_width * gap;
        const std::int64_t feature = unit % parts.n_features;
        FeatureStats all = parts.of[first * parts.n_features + feature];
        for (std::int64_t k = 1; k < merge_width; ++k) {
            const std::int64_t block = first + k * gap;
            if (block >= parts.n_blocks) {
                break;
            }
            const std::int64_t start = parts.first(block);
            merge_stats(all, start - parts.first(first), parts.of[block * parts.n_features + feature],
                        parts.first(block + gap) - start);
        }
        if (n_runs == 1) {
            write_stats(all, parts.n_samples, feature, parts.out);
        } else {
            parts.of[first * parts.n_features + feature] = all;
        }
    }
}

}  // namespace

void merge_parts(const StatsParts& parts, void* stream) {
    std::int64_t left = parts.n_blocks;
    for (std::int64_t gap = 1; left > 1; gap *= merge_width) {
        left = (left + merge_width - 1) / merge_width;
        const std::int64_t units = left * parts.n_features;
        launch(merge_runs, blocks_for((units + block_threads - 1) / block_threads), block_threads, 0, stream, parts,
               gap, left);
    }
}

}  // namespace pixfold::cuda
