// Pairs of a key and a position, sorted by CUB. Under the shim tests/cpp/simt/sort.cpp stands in for it.
#pragma once

#include <cstdint>

namespace pixfold::cuda {

struct Pairs {
    std::uint64_t* keys;
    std::uint32_t* positions;
};

// What sort_pairs needs beside the pairs, on the current device. Throws Error.
std::int64_t sort_scratch_bytes(std::int64_t n);

// Queues a stable sort by the bits [first_bit, end_bit) of the keys; `pairs` and `others` are written. Returns those of
// the two that the result lies in. Throws Error.
Pairs sort_pairs(Pairs pairs, Pairs others, std::int64_t n, int first_bit, int end_bit, void* scratch,
                 std::int64_t scratch_bytes, void* stream);

}  // namespace pixfold::cuda
