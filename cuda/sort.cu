// The device radix sort of CUB.
#include <cub/device/device_radix_sort.cuh>

#include "launch.hpp"
#include "sort.hpp"

namespace pixfold::cuda {
namespace {

void check(cudaError_t status) {
    if (status != cudaSuccess) {
        cudaGetLastError();  // so that the next call does not report it again
        throw Error(cudaGetErrorString(status));
    }
}

}  // namespace

std::int64_t sort_scratch_bytes(std::int64_t n) {
    cub::DoubleBuffer<std::uint64_t> keys(nullptr, nullptr);
    cub::DoubleBuffer<std::uint32_t> positions(nullptr, nullptr);
    std::size_t bytes = 0;
    check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, keys, positions, n));
    return static_cast<std::int64_t>(bytes);
}

Pairs sort_pairs(Pairs pairs, Pairs others, std::int64_t n, int first_bit, int end_bit, void* scratch,
                 std::int64_t scratch_bytes, void* stream) {
    if (first_bit == end_bit) {
        return pairs;
    }
    cub::DoubleBuffer<std::uint64_t> keys(pairs.keys, others.keys);
    cub::DoubleBuffer<std::uint32_t> positions(pairs.positions, others.positions);
    auto bytes = static_cast<std::size_t>(scratch_bytes);
    check(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, positions, n, first_bit, end_bit,
                                          static_cast<cudaStream_t>(stream)));
    return {keys.Current(), positions.Current()};
}

}  // namespace pixfold::cuda
