// rank: order features by importance.
//
// Both ops take float64 values without NaN, and the survey of them. -0.0 equals 0.0, infinities are values like others.
//   average_ranks  rank 1 for the largest value; equal values share the mean of the ranks that they span
//   top_k          positions of the k largest values by decreasing value, equal values by increasing position. A tied
//                  group that straddles the cut is left out whole, and values that are all equal select nothing, so
//                  fewer than k may come back.
// The results do not depend on the number of threads. Beside the output the ops take 16 bytes per value, top_k per
// candidate: a value that shares its first 11 varying bits with one of the k largest.
//
// How: the bits of a value, taken as a signed integer s, order like the value, and max(s) - s is sorted. Where 32 bits
// hold all that varies in it, those and the position make one 64-bit item, and a radix sort of the items is the answer
// (small integers are such, and float32 numbers of similar size). Else its 32 high bits are sorted, and runs of items
// that are equal in them by the rest.
#pragma once

#include <cstdint>

namespace pixfold {

// One pass over the values, before anything else.
struct Survey {
    std::int64_t first_nan = -1;  // position, or -1; the rest is set only where it is -1
    std::int64_t least = 0;       // of s
    std::int64_t most = 0;
    std::uint64_t varying = 0;  // the bits of s that are not the same everywhere
};

Survey survey(const double* values, std::int64_t n, int threads);

// Up to so many values, positions fit in an item. More are sorted by comparing; tests lower it to come there.
inline constexpr std::int64_t most_packed = std::int64_t{1} << 32;

void average_ranks(const double* values, std::int64_t n, const Survey& survey, double* ranks, int threads,
                   std::int64_t packed_up_to = most_packed);

// Returns how many were selected; `positions` has room for min(k, n).
std::int64_t top_k(const double* values, std::int64_t n, const Survey& survey, std::int64_t k, std::int64_t* positions,
                   int threads, std::int64_t packed_up_to = most_packed);

}  // namespace pixfold

namespace pixfold::cuda {

// rank on a CUDA device: the contract is pixfold/rank.hpp's, and values, results and workspace are the device's. What
// differs:
//   - there are 1 to `most_ranked` values
//   - calls are queued on the stream and return at once: the survey lies on the device, and whoever goes on reads it
//     first, for NaN is refused there; average_ranks and top_k take it from the host
//   - workspace of 24 bytes per value and what CUB's sort takes, aligned to 256 bytes; a survey takes less
//
// How: how far a value is below the largest (csrc/math/order.hpp) is its key. Keys and positions are sorted by the bits
// that vary, 8 a pass, stably: equal values stay in the order of their positions. A thread that finds its key beside an
// equal one looks for both ends of the group in steps that double.

inline constexpr std::int64_t most_ranked = std::int64_t{1} << 32;  // positions of 32 bits

std::int64_t survey_workspace_bytes(std::int64_t n);
std::int64_t rank_workspace_bytes(std::int64_t n);  // of the current device; throws Error

void survey(const double* values, std::int64_t n, void* workspace, Survey* found, void* stream);

void average_ranks(const double* values, std::int64_t n, const Survey& survey, double* ranks, void* workspace,
                   void* stream);

// How many were selected goes to *n_selected, on the device. Of `positions`, min(k, n) are written.
void top_k(const double* values, std::int64_t n, const Survey& survey, std::int64_t k, std::int64_t* positions,
           std::int64_t* n_selected, void* workspace, void* stream);

}  // namespace pixfold::cuda
