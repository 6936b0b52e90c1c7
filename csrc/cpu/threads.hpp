// How many threads a kernel may use.
#pragma once

#include <cstdint>

namespace pixfold {

// OMP_NUM_THREADS and the process's CPU affinity decide; 1 in any forked child, because the parent's thread pool, if
// it had one, did not survive the fork.
int default_threads();

// `requested` (0 = default_threads()), cut so that every thread gets at least 512 KiB of `bytes` to work on.
int threads_for(int requested, std::int64_t bytes);

// Call once when the module is loaded: registers the handler that makes forked children serial.
void watch_forks();

}  // namespace pixfold
