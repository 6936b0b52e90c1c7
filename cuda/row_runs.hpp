// How the sum of a dense row is put together, which decides its bits: by runs of its features, each by the threads of a
// warp at most, of which each adds up what it reads and all of them theirs in pairs; then run after run.
#pragma once

#include <cstdint>

#include "runs.hpp"

namespace pixfold::cuda {

constexpr std::int64_t thread_values = 128;                      // of a run, that one thread adds up
constexpr std::int64_t warp_run = thread_values * warp_threads;  // features of a run that a whole warp takes

template <class C>
__device__ double value_or_zero(C v) {
    return v == v ? static_cast<double>(v) : 0.0;
}

// The sum over `lanes` threads that stand side by side, in all of them.
__device__ inline double sum_of_lanes(double sum, unsigned lanes) {
    for (unsigned flip = 1; flip < lanes; flip *= 2) {
        sum += __shfl_xor_sync(whole_warp, sum, flip);
    }
    return sum;
}

}  // namespace pixfold::cuda
