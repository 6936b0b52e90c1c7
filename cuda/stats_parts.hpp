// What is known of each block of samples, and how that becomes the statistics of all of them.
#pragma once

#include "math/moments.hpp"
#include "simt.hpp"

namespace pixfold::cuda {

// Where the blocks of a feature are put down: in the output itself where there is one block.
struct StatsParts {
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t block_samples;
    std::int64_t n_blocks;  // at least one, which may be empty
    FeatureStats* of;       // [n_blocks][n_features]; null for one block
    StatsOutput out;

    __host__ __device__ std::int64_t first(std::int64_t block) const {
        const std::int64_t sample = block * block_samples;
        return sample < n_samples ? sample : n_samples;
    }
    __device__ void put(std::int64_t block, std::int64_t feature, const FeatureStats& stats) const {
        if (n_blocks == 1) {
            write_stats(stats, n_samples, feature, out);
        } else {
            of[block * n_features + feature] = stats;
        }
    }
};

inline StatsParts parts_of(std::int64_t n_samples, std::int64_t n_features, std::int64_t block_samples, void* workspace,
                           const StatsOutput& out) {
    const std::int64_t n_blocks = n_samples > block_samples ? (n_samples + block_samples - 1) / block_samples : 1;
    return {n_samples, n_features, block_samples, n_blocks, static_cast<FeatureStats*>(workspace), out};
}

inline std::int64_t bytes_of(const StatsParts& parts) {
    return parts.n_blocks == 1 ? 0
                               : parts.n_blocks * parts.n_features * static_cast<std::int64_t>(sizeof(FeatureStats));
}

// Merges the blocks in order, merge_width at a time, in their own memory, and writes the output.
constexpr std::int64_t merge_width = 16;
void merge_parts(const StatsParts& parts, void* stream);

}  // namespace pixfold::cuda
