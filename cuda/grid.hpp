// How many blocks are there at a time.
#pragma once

#include "launch.hpp"

namespace pixfold::cuda {

// As many blocks as the current device runs at once, and no more than units: for kernels whose blocks do something for
// their next unit while they are at one.
template <class... Parameters>
unsigned resident_blocks(void (*kernel)(Parameters...), unsigned threads, std::size_t shared, std::int64_t n_units) {
#ifdef PIXFOLD_SIMT_SHIM
    static_cast<void>(kernel);
    static_cast<void>(threads);
    static_cast<void>(shared);
    return blocks_for(n_units);
#else
    int device = 0;
    int multiprocessors = 0;
    int blocks = 0;
    const auto check = [](cudaError_t status) {
        if (status != cudaSuccess) {
            cudaGetLastError();  // so that the next call does not report it again
            throw Error(cudaGetErrorString(status));
        }
    };
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, static_cast<int>(threads), shared));
    const std::int64_t most = std::int64_t{multiprocessors} * (blocks > 0 ? blocks : 1);
    return static_cast<unsigned>(n_units < most ? n_units : most);
#endif
}

}  // namespace pixfold::cuda
