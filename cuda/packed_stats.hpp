// The statistics of packed genotypes on a CUDA device: the contract is pixfold/packed.hpp's, and all pointers, those
// inside the arguments too, are the device's. Counts are exact, and the statistics are those of the CPU, bit by bit
// where its logarithm fuses multiplications and additions, too. Calls are queued on the stream and return at once;
// negative values are added to counts[0], for whoever reads them later; `counts` may be null.
#pragma once

#include "pixfold/packed.hpp"

namespace pixfold::cuda {

// Threads take spans of samples as long as leave `enough_threads` of them.
void column_stats_packed(const PackedView&, std::int32_t copies, const StatsArguments&, const StatsOutput&,
                         unsigned long long* counts, void* stream, std::int64_t enough_threads = std::int64_t{1} << 17);

}  // namespace pixfold::cuda
