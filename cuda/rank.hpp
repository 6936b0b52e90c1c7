// rank on a CUDA device: the contract is pixfold/rank.hpp's, and values, results and workspace are the device's. What
// differs:
//   - there are 1 to `most_ranked` values
//   - calls are queued on the stream and return at once: the survey lies on the device, and whoever goes on reads it
//     first, for NaN is refused there; average_ranks and top_k take it from the host
//   - workspace of 24 bytes per value and what CUB's sort takes, aligned to 256 bytes; a survey takes less
//
// How: how far a value is below the largest (pixfold/order.hpp) is its key. Keys and positions are sorted by the bits
// that vary, 8 a pass, stably: equal values stay in the order of their positions. A thread that finds its key beside an
// equal one looks for both ends of the group in steps that double.
#pragma once

#include <cstdint>

#include "pixfold/rank.hpp"

namespace pixfold::cuda {

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
