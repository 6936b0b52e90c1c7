// What memory allows: the plain loops that the benchmarks hold every kernel to, on the kernels' own threads.
#pragma once

#include <cstdint>

namespace pixfold {

// memcpy and memset of the C library, each thread its own part.
void copy_bytes(void* to, const void* from, std::int64_t n, int threads);
// Some processors write zeros several times as fast as any other value: images are held to a value that is not 0.
void fill_bytes(void* to, int value, std::int64_t n, int threads);

// Sum of all 8-byte words (the tail left out): reads everything, writes nothing.
std::uint64_t read_bytes(const void* from, std::int64_t n, int threads);

}  // namespace pixfold
