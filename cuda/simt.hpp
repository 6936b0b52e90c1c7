// What a kernel file includes in place of the CUDA headers, so that it also compiles as host C++.
//
// Under nvcc this is CUDA. With PIXFOLD_SIMT_SHIM it is tests/cpp/simt, which runs the threads of a block as fibers: CI
// has no GPU, and there every kernel runs under the sanitizers. Kernels keep to what both have:
//   - one-dimensional grids; blocks of whole warps; every thread of a block reaches the same __syncthreads()
//   - threadIdx.x, blockIdx.x, blockDim.x, gridDim.x; __syncthreads(), __syncwarp(); __shfl_sync(), __shfl_xor_sync(),
//     __shfl_down_sync(), __ballot_sync(), __any_sync(), __all_sync(); atomicAdd() on integers; __byte_perm()
//   - __shared__ arrays of constant size, dynamic_shared<T>() for those of a launch
//   - load_once() and store_once() (words.hpp) for what the caches need not keep
//   - launches through launch() (launch.hpp) alone
// Rules of the house: 64-bit numbers wherever samples are multiplied with features; no float atomics; no allocation and
// no synchronisation in an op, so that CUDA graphs can capture it; the caller's stream; scratch memory is the caller's.
// Compiled without contraction (-fmad=false), because the CPU kernels are: what is to be fused says so.
#pragma once

#ifdef PIXFOLD_SIMT_SHIM

#include "simt/shim.hpp"

#else

#include <cuda_runtime.h>

namespace pixfold::cuda {

constexpr unsigned warp_threads = 32;
constexpr unsigned whole_warp = 0xffffffffu;

// The shared memory that was asked for at the launch, aligned to 16 bytes.
template <class T>
__device__ T* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char pixfold_dynamic_shared[];
    return reinterpret_cast<T*>(pixfold_dynamic_shared);
}

}  // namespace pixfold::cuda

#endif
